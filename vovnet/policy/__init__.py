"""Choosing an action from the text pass."""

FILE_NAME = "policy.safetensors"  # in the folder of a training
