"""The base model that an experiment names, and its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from bem_core.config.base_config import ExperimentConfig
from bem_core.config.sections import invalid
from bem_core.models.tiny import TinyConfig, TinyDecoder
from bem_core.models.tokens import ByteTokenizer
from bem_core.utils.extras import import_extra

#: What ``model.base_model`` calls the built-in model.
TINY = "tiny"
_SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_layers", "num_attention_heads", "context_length")


def load_base_model(config: ExperimentConfig) -> nn.Module:
    """Make or load the model that ``model.base_model`` names.

    ``tiny``, which is also what no name means, is a `TinyDecoder` with random weights and the sizes of the ``model``
    section. Anything else is a folder in the form of `transformers`, or a name on the Hugging Face hub;
    ``model.model_path`` goes before it. Both kinds are called as ``model(input_ids, attention_mask,
    output_hidden_states=True)`` and return an object with ``logits`` and ``hidden_states``.

    Raises:
        ConfigError: There is no such model, it cannot be reached, or its sizes are not those of the ``model`` section.
        MissingExtraError: It needs `transformers`.
    """
    dtype = getattr(torch, config.model.torch_dtype)
    name = _source(config)
    if name == TINY:
        return _tiny(config).to(dtype)
    auto = import_extra("transformers", "hf", f"model.base_model: {name}").AutoModelForCausalLM
    settings = {"dtype": dtype, "attn_implementation": config.model.attn_implementation}
    model: nn.Module = _load(config, auto, name, settings)
    _compare_sizes(config, model)
    return model


def load_tokenizer(config: ExperimentConfig) -> Any:
    """Return the tokenizer of the base model, or the one that ``model.tokenizer`` names.

    Returns:
        A `ByteTokenizer` for ``tiny``, a tokenizer of `transformers` otherwise; both have ``encode``, ``decode``,
        ``vocab_size`` and the ids of special tokens.

    Raises:
        ConfigError: There is none, or it cannot be reached.
        MissingExtraError: It needs `transformers`.
    """
    name = config.model.tokenizer or _source(config)
    if name == TINY:
        return ByteTokenizer()
    auto = import_extra("transformers", "hf", f"the tokenizer {name}").AutoTokenizer
    tokenizer = _load(config, auto, name, {}, "model.tokenizer" if config.model.tokenizer else "model.base_model")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _source(config: ExperimentConfig) -> str:
    return config.model.model_path or config.model.base_model or TINY


def _tiny(config: ExperimentConfig) -> TinyDecoder:
    given = {name: getattr(config.model, name) for name in _SIZES if getattr(config.model, name) is not None}
    sizes = TinyConfig(**given)
    if sizes.hidden_size % sizes.num_attention_heads:
        expected = f"a multiple of model.num_attention_heads, {sizes.num_attention_heads}"
        raise invalid(config, "model.hidden_size", f"expected {expected}, found {sizes.hidden_size}")
    return TinyDecoder(sizes)


def _load(config: ExperimentConfig, auto: Any, name: str, settings: dict[str, Any], key: str = "") -> Any:
    key = key or ("model.model_path" if config.model.model_path else "model.base_model")
    local = Path(name).is_dir()
    if not local and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise invalid(config, key, f"there is no folder {name}")
    try:
        return auto.from_pretrained(name, local_files_only=local, **settings)
    # They come from the hub, from the files in the folder, or from what both are parsed with.
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise invalid(config, key, _reason(name, local, error)) from error


def _reason(name: str, local: bool, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if local:
        return f"the folder {name} holds no model that transformers can load: {first}"
    return (
        f"the model {name!r} is no folder here, and it could not be had from the Hugging Face hub: {first}; "
        f"name a folder, download it first with `hf download {name}`, or use base_model: {TINY}"
    )


def _compare_sizes(config: ExperimentConfig, model: nn.Module) -> None:
    loaded: Any = model.config
    names = {"hidden_size": "hidden_size", "num_layers": "num_hidden_layers", "vocab_size": "vocab_size"}
    for name, theirs in names.items():
        asked, found = getattr(config.model, name), getattr(loaded, theirs, None)
        if asked is not None and found is not None and asked != found:
            raise invalid(config, f"model.{name}", f"expected {found}, as the model has, found {asked}")


__all__ = ["TINY", "load_base_model", "load_tokenizer"]
