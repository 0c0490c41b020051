"""The vision-language model: checkpoints, budgets, prompts, forward passes, decoding."""
