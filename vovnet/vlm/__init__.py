"""Vision-language models: one protocol, an implementation for every family, and a faster one for Qwen's."""
