"""Entry points: compose a configuration, call vovnet, show the result."""
