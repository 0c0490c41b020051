"""Models behind an OpenAI-compatible server, such as vLLM, SGLang, LMDeploy or ``transformers serve``."""
