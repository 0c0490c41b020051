"""Parts as a user's own package would hold them; see ../extending.md."""
