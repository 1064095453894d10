"""The language models that components build on: a small one of our own, and any that `transformers` can load."""

from bem_core.models.base_model import load_base_model, load_tokenizer
from bem_core.models.tiny import CausalOutput, TinyConfig, TinyDecoder
from bem_core.models.tokens import ByteTokenizer

__all__ = ["ByteTokenizer", "CausalOutput", "TinyConfig", "TinyDecoder", "load_base_model", "load_tokenizer"]
