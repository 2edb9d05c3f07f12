"""Text to embeddings: ordinary Hugging Face folders, run in JAX."""

from lore_jax.embed.pairs import EmbedReport, embed_pairs
from lore_jax.embed.text_encoder import EmbedConfig, TextEncoder, embed_texts, load_encoder

__all__ = [
    "EmbedConfig",
    "EmbedReport",
    "TextEncoder",
    "embed_pairs",
    "embed_texts",
    "load_encoder",
]
