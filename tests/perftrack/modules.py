"""Small adapters that tests share."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bem2.perftrack.adapter import Adapter, Site
from bem2.perftrack.variants import VARIANTS
from bem2.perftrack.wrapping import attach, find_targets, sizes
from bem_core.models.tiny import TinyConfig, TinyDecoder

torch.set_num_threads(1)
SMALL: dict[str, dict[str, Any]] = {
    "PT1": {},
    "PT2": {"total_rank": 12, "active_rank": 6},
    "PT3": {"u_rank": 4, "v_rank": 4, "u_dim": 8, "v_dim": 8},
    "PT4": {},
}


def decoder(**sizes_: Any) -> TinyDecoder:
    """A decoder with some weight in all its parts, so that adapters have something to change."""
    given = {"vocab_size": 20, "hidden_size": 32, "intermediate_size": 64, "context_length": 16} | sizes_
    model = TinyDecoder(TinyConfig(**given))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2) if parameter.dim() == 2 else None
    return model


def adapter_of(variant: str, site: Site, **settings: Any) -> Adapter:
    chosen = VARIANTS[variant]
    made: Adapter = chosen.adapter(chosen.config(**SMALL[variant] | settings), site)
    return made


def adapted_model(variant: str, model: nn.Module, patterns: list[str] | None = None, **settings: Any) -> nn.Module:
    """Put adapters of a variant into a model."""

    def make(name: str, module: nn.Module) -> Adapter:
        found = sizes(module)
        assert found is not None
        return adapter_of(variant, Site(name, *found), **settings)

    attach(model, find_targets(model, patterns or ["mlp.w_down"]), make)
    return model


def strengthen(model: nn.Module, factor: float = 5.0) -> None:
    """Make the adapters of a model do something that can be seen."""
    for name, parameter in model.named_parameters():
        if ".adapter." in name and parameter.dim() == 2:
            parameter.data.mul_(factor)
