"""Choosing an action from the text pass."""
