"""PT2: a low-rank update of which k of R ranks are active, chosen for each input.

``h + V H (m * s * U h)`` with a mask m of k ones, scales s and the orthonormal Hadamard matrix H, which mixes the
active ranks. Training draws the mask with Gumbel noise, and its gradient is that of the soft mask (Jang et al.,
Categorical Reparameterization with Gumbel-Softmax, https://arxiv.org/abs/1611.01144, section 2.2). Shapes: R ranks; the
others as in `adapter`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from bem2.perftrack.adapter import Adapter, MergeError, Site, after, entropy, mlp, pool
from bem2.perftrack.spectral import Map, SpectralNorm, limit
from bem_core.config.schema import Fraction, Momentum, Positive, PositiveFloat


@dataclass(frozen=True, kw_only=True)
class DynamicRankMaskConfig:
    """Settings of PT2.

    Attributes:
        total_rank: R.
        active_rank: k.
        mask_temperature: Temperature of the soft mask.
        use_hadamard_path: Whether the active ranks are mixed.
        hadamard_dim: Least size of the Hadamard matrix, a power of 2.
        use_instance_adaptive: Whether the mask depends on the input; otherwise the adapter can be merged.
        adaptation_dim: Width of the network that chooses.
        mask_momentum: Of the moving average of the mask.
        straight_through: Whether the choice has a gradient.
        max_singular_value: Bound of the spectral norm of the update, for any mask.
        target_sparsity: Share of the ranks that should be off.
    """

    total_rank: Positive = 16
    active_rank: Positive = 8
    mask_temperature: PositiveFloat = 0.1
    use_hadamard_path: bool = True
    hadamard_dim: Positive = 16
    use_instance_adaptive: bool = True
    adaptation_dim: Positive = 32
    mask_momentum: Momentum = 0.9
    straight_through: bool = True
    max_singular_value: PositiveFloat = 1.0
    target_sparsity: Fraction = 0.5


class FastHadamardTransform(nn.Module):
    """Multiplies the last dimension by the orthonormal Walsh-Hadamard matrix of Sylvester's construction.

    Args:
        dim: Size of the matrix, a power of 2; shorter vectors are padded with zeros and cut again.
    """

    hadamard_matrix: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        matrix = torch.ones(1, 1)
        while len(matrix) < dim:
            matrix = torch.cat([torch.cat([matrix, matrix], dim=1), torch.cat([matrix, -matrix], dim=1)])
        self.register_buffer("hadamard_matrix", matrix / math.sqrt(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return the transformed vectors, as long as the given ones."""
        width = x.shape[-1]
        padded = functional.pad(x, (0, self.dim - width)) if width < self.dim else x
        return torch.matmul(padded, self.hadamard_matrix)[..., :width]


class MaskController(nn.Module):
    """Chooses the active ranks and scales them."""

    mask_ema: Tensor

    def __init__(self, config: DynamicRankMaskConfig, hidden_size: int) -> None:
        super().__init__()
        self.config = config
        ranks = config.total_rank
        self.rank_scales = nn.Parameter(torch.ones(ranks))
        self.mask_logits = nn.Parameter(torch.zeros(ranks))
        adaptive = config.use_instance_adaptive
        self.adaptation = mlp(hidden_size, config.adaptation_dim, nn.ReLU(), ranks) if adaptive else None
        self.register_buffer("mask_ema", torch.ones(ranks) / ranks)

    def forward(self, pooled_BPD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mask and the soft mask, ``(B, P, R)``; the first is 0 or 1, with the gradient of the second."""
        if self.adaptation is None:
            logits = self.mask_logits.expand(*pooled_BPD.shape[:-1], -1)
        else:
            logits = self.adaptation(pooled_BPD) + self.mask_logits
        if self.training:
            logits = logits - torch.log(-torch.log(torch.rand_like(logits) + 1e-8) + 1e-8)
        hard = self._chosen(logits)
        soft = torch.softmax(logits / self.config.mask_temperature, dim=-1)
        if not self.training:
            return hard, soft
        momentum = self.config.mask_momentum
        self.mask_ema = momentum * self.mask_ema + (1 - momentum) * hard.flatten(0, 1).mean(dim=0)
        return (hard + (soft - soft.detach()) if self.config.straight_through else hard), soft

    def fixed(self) -> Tensor:
        """Return the mask that no input changes, ``(R,)``."""
        return self._chosen(self.mask_logits.detach())

    def _chosen(self, logits: Tensor) -> Tensor:
        chosen = torch.topk(logits, self.config.active_rank, dim=-1).indices
        return torch.zeros_like(logits).scatter(-1, chosen, 1.0)


class DynamicRankMaskModule(Adapter):
    """The adapter of PT2.

    Its bound holds for any mask: the norm of the update is at most ``|V H s| |U|``.
    """

    loss_weights: ClassVar[dict[str, float]] = {"mask_sparsity_gap": 0.1, "mask_neg_entropy": 0.01}

    def __init__(self, config: DynamicRankMaskConfig, site: Site) -> None:
        super().__init__()
        self.config, self.site = config, site
        size, ranks = site.out_features, config.total_rank
        self.U = nn.Linear(size, ranks, bias=False)
        self.V = nn.Linear(ranks, size, bias=False)
        self.mask_controller = MaskController(config, size)
        needed = max(config.hadamard_dim, 2 ** math.ceil(math.log2(ranks)))
        self.hadamard = FastHadamardTransform(needed) if config.use_hadamard_path else nn.Identity()
        nn.init.orthogonal_(self.U.weight)
        # The root makes up for ranks that are off; the rest of the gain starts near the identity.
        nn.init.xavier_uniform_(self.V.weight, gain=0.05 * math.sqrt(2.0 / config.target_sparsity))
        self.down_norm = SpectralNorm(1, size, site.iterations)
        self.up_norm = SpectralNorm(1, ranks, site.iterations)
        self.down_norm.begin(*self._down())
        self.up_norm.begin(*self._up())

    @classmethod
    def problems(cls, config: DynamicRankMaskConfig, site: Site) -> dict[str, str]:
        """Return what does not fit the site."""
        found = {}
        if config.active_rank > config.total_rank:
            found["active_rank"] = f"expected at most total_rank, {config.total_rank}"
        if config.total_rank > site.out_features:
            found["total_rank"] = f"expected at most {site.out_features}, the outputs of {site.name}"
        if config.hadamard_dim & (config.hadamard_dim - 1):
            found["hadamard_dim"] = "expected a power of 2"
        if not config.target_sparsity:
            found["target_sparsity"] = "expected a number above 0"
        return found

    def delta(self, hidden_BLD: Tensor, input_BLI: Tensor) -> Tensor:
        """Return the masked low-rank update."""
        ranks = self.U(hidden_BLD)
        mask, soft = self.mask_controller(pool(hidden_BLD, self.site.pooling))
        self.terms = {
            "mask_sparsity_gap": torch.abs(1.0 - mask.mean() - self.config.target_sparsity),
            "mask_neg_entropy": -entropy(soft),
        }
        return self.V(self.hadamard(ranks * mask * self.mask_controller.rank_scales * self._limit()))  # type: ignore[no-any-return]

    def merged(self, weight_DI: Tensor, bias_D: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias that include the update, where the mask does not depend on the input."""
        if self.config.use_instance_adaptive:
            raise MergeError(
                f"{self.site.name}: the mask depends on the input, so it cannot be merged; only one with "
                "use_instance_adaptive: false can"
            )
        scales = self.mask_controller.fixed() * self.mask_controller.rank_scales * self._limit()
        # Row r is what rank r adds.
        rows = self.V(self.hadamard(torch.diag(scales)))
        return after(rows.t() @ self.U.weight, weight_DI, bias_D)

    def _limit(self) -> Tensor:
        sigma = self.down_norm(*self._down()) * self.up_norm(*self._up())
        return limit(sigma, self.config.max_singular_value)

    def _down(self) -> tuple[Map, Map]:
        weight = self.U.weight
        return lambda x: x @ weight.t(), lambda y: y @ weight

    def _up(self) -> tuple[Map, Map]:
        weight, scales = self.V.weight, self.mask_controller.rank_scales
        # The matrix is symmetric, so the transform is its own transpose.
        return lambda x: self.hadamard(x * scales) @ weight.t(), lambda y: self.hadamard(y @ weight) * scales
