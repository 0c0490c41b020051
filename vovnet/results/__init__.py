"""From decisions to rows and files."""
