"""Qwen3-VL and Qwen2.5-VL driven part by part: several times as fast as `generate`, behind the same protocol."""
