"""Evaluation: a probe that reads clips, fixed prompts, figures with intervals, a page."""
