"""Numbers for people: tables and plots."""
