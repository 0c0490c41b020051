"""From decisions to numbers and files."""
