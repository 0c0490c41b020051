"""Numbers about outcomes and decisions: arrays in, floats out, nothing read or written."""
