"""The check points of the specification, evaluated on results: one module per block."""
