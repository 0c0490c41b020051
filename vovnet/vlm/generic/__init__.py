"""Any image-text model of transformers, through its processor and the model's ``forward`` and ``generate``."""
