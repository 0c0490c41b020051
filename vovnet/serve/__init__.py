"""An OpenAI-compatible endpoint over the routed model."""
