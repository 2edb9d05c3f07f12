"""Durable files: safetensors, embedding caches, checkpoints."""
