"""What a training will need, worked out before it is paid for: memory, FLOPs, data, hours."""
