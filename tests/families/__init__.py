"""Shrunken checkpoints of many families of vision-language models, written on the spot."""
