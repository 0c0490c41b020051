"""How fast the framework is, each figure as a ratio to the same work done bare, in one run."""
