"""PT1: low-rank updates of several groups, mixed by gates that are computed from the hidden states.

``h + sum_g gate_g(h) V_g U_g h``. The gates are those of a mixture of experts that is never sparse (Shazeer et al.,
https://arxiv.org/abs/1701.06538, equation 1). Shapes: G groups, R rank of a group; the others as in `adapter`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bem2.perftrack.adapter import Adapter, Site, entropy, mlp, pool
from bem2.perftrack.spectral import Map, SpectralNorm, limit
from bem_core.config.schema import Momentum, NonNegative, Positive, PositiveFloat

_MOMENTUM = 0.99


@dataclass(frozen=True, kw_only=True)
class HeadGroupGatingConfig:
    """Settings of PT1.

    Attributes:
        gate_temperature: What the logits of the gates are divided by.
        decorrelation_strength: Weight of the correlation between the gates in the loss.
        attention_stat_dim: Width of the features that the gates are computed from.
        retrieval_quality_dim: Inputs of the gates that hold the quality, and the width of what computes it.
        max_singular_value: Bound of the spectral norm of each group's update.
    """

    num_groups: Positive = 4
    rank_per_group: Positive = 2
    gate_temperature: PositiveFloat = 1.0
    gate_dropout: Momentum = 0.1
    decorrelation_strength: NonNegative = 0.1
    attention_stat_dim: Positive = 16
    retrieval_quality_dim: Positive = 8
    max_singular_value: PositiveFloat = 1.0


class GateController(nn.Module):
    """Computes the gates from pooled hidden states."""

    gate_correlation_ema: Tensor

    def __init__(self, config: HeadGroupGatingConfig, hidden_size: int) -> None:
        super().__init__()
        groups, quality = config.num_groups, config.retrieval_quality_dim
        self.config = config
        self.features = mlp(hidden_size, config.attention_stat_dim, nn.GELU())
        self.quality = mlp(hidden_size, quality, nn.ReLU(), 1)
        seen = config.attention_stat_dim + quality + 1
        self.gates = mlp(seen, 2 * groups, nn.ReLU(), groups, config.gate_dropout)
        self.register_buffer("gate_correlation_ema", torch.eye(groups))

    def forward(self, pooled_BPD: Tensor) -> Tensor:
        """Return the gates, ``(B, P, G)``; they sum to 1."""
        features, quality = self.features(pooled_BPD), torch.sigmoid(self.quality(pooled_BPD))
        repeated = quality.expand(*quality.shape[:-1], self.config.retrieval_quality_dim)
        logits = self.gates(torch.cat([features, repeated, quality], dim=-1))
        return torch.softmax(logits / self.config.gate_temperature, dim=-1)

    def decorrelation(self, gates_BPG: Tensor) -> Tensor:
        """Return ``sum |EMA(C) - 1|`` for the correlation C of the gates over the batch; 0 outside of training."""
        gates = gates_BPG.flatten(0, 1)
        if not self.training or len(gates) < 2:
            return gates.new_zeros(())
        centred = gates - gates.mean(dim=0, keepdim=True)
        normed = centred / (centred.norm(dim=0, keepdim=True) + 1e-8)
        smoothed = _MOMENTUM * self.gate_correlation_ema + (1 - _MOMENTUM) * (normed.t() @ normed)
        self.gate_correlation_ema = smoothed.detach()
        return torch.sum(torch.abs(smoothed - torch.eye(len(smoothed), device=gates.device)))


class HeadGroupGatingModule(Adapter):
    """The adapter of PT1.

    The gates sum to 1 and each group's update is within the bound, so the sum is, too, whatever the input.
    """

    loss_weights: ClassVar[dict[str, float]] = {"gate_decorrelation": 1.0, "gate_entropy_gap": 0.01}

    def __init__(self, config: HeadGroupGatingConfig, site: Site) -> None:
        super().__init__()
        self.config, self.site = config, site
        size, rank, groups = site.out_features, config.rank_per_group, config.num_groups
        self.gate_controller = GateController(config, size)
        self.group_projections = nn.ModuleList(
            nn.ModuleDict({"U": nn.Linear(size, rank, bias=False), "V": nn.Linear(rank, size, bias=False)})
            for _ in range(groups)
        )
        for group in self._groups():
            nn.init.orthogonal_(group["U"].weight)
            nn.init.xavier_uniform_(group["V"].weight, gain=0.1)
        self.norm = SpectralNorm(groups, size, site.iterations)
        self.norm.begin(*self._maps())

    @classmethod
    def problems(cls, config: HeadGroupGatingConfig, site: Site) -> dict[str, str]:
        """Return what does not fit the site."""
        if config.rank_per_group <= site.out_features:
            return {}
        return {"rank_per_group": f"expected at most {site.out_features}, the outputs of {site.name}"}

    def delta(self, hidden_BLD: Tensor, input_BLI: Tensor) -> Tensor:
        """Return the gated sum of the groups' updates."""
        gates = self.gate_controller(pool(hidden_BLD, self.site.pooling))
        gap = torch.abs(entropy(gates) - math.log(self.config.num_groups))
        correlation = self.config.decorrelation_strength * self.gate_controller.decorrelation(gates)
        self.terms = {"gate_decorrelation": correlation, "gate_entropy_gap": gap}
        limited = gates * limit(self.norm(*self._maps()), self.config.max_singular_value)
        total = torch.zeros_like(hidden_BLD)
        for number, group in enumerate(self._groups()):
            total = total + limited[..., number, None] * group["V"](group["U"](hidden_BLD))
        return total

    def _groups(self) -> list[Any]:
        return list(self.group_projections)

    def _maps(self) -> tuple[Map, Map]:
        down = torch.stack([group["U"].weight for group in self._groups()])
        up = torch.stack([group["V"].weight for group in self._groups()])

        def apply(vectors_GD: Tensor) -> Tensor:
            return (up @ (down @ vectors_GD.unsqueeze(-1))).squeeze(-1)

        def adjoint(vectors_GD: Tensor) -> Tensor:
            return (down.mT @ (up.mT @ vectors_GD.unsqueeze(-1))).squeeze(-1)

        return apply, adjoint
