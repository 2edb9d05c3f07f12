"""Text to embeddings: ordinary Hugging Face folders, run in JAX."""

from lore_jax.embed.pairs import EmbedReport, embed_pairs
from lore_jax.embed.text_encoder import EmbedConfig, TextEncoder, load_encoder
from lore_jax.embed.texts import embed_texts

__all__ = [
    "EmbedConfig",
    "EmbedReport",
    "TextEncoder",
    "embed_pairs",
    "embed_texts",
    "load_encoder",
]
