"""Training: one straight script per model over small shared helpers."""
