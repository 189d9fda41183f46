"""The benchmark: our parts beside those of `diffusers`, timed in turns in one process, at equal size and work."""

PARTS = ("forward", "training", "packing", "codecs", "making", "start")
