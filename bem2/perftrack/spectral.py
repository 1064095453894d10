"""Largest singular values by power iteration that goes on where the last step stopped.

A vector that is kept from step to step needs one iteration each, since weights move little in between (Miyato et al.,
Spectral Normalization for GANs, https://arxiv.org/abs/1802.05957, algorithm 1). No singular value is overestimated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Map = Callable[[Tensor], Tensor]
# Enough for the first estimate to be within a thousandth where the two largest values differ by a tenth.
_FIRST_ITERATIONS = 30


def start_vectors(count: int, size: int) -> Tensor:
    """Return ``count`` unit vectors, the same ones each time, without a draw from the global generators."""
    generator = torch.Generator().manual_seed(count * 1_000_003 + size)
    return functional.normalize(torch.randn(count, size, generator=generator), dim=-1)


class SpectralNorm(nn.Module):
    """The largest singular value of linear maps that change from step to step.

    Args:
        count: How many maps there are.
        size: Length of what they are applied to.
        iterations: Iterations of each training step.
    """

    vectors: Tensor

    def __init__(self, count: int, size: int, iterations: int = 1) -> None:
        super().__init__()
        self.iterations = iterations
        self.register_buffer("vectors", start_vectors(count, size))

    @torch.no_grad()
    def begin(self, apply: Map, adjoint: Map) -> None:
        """Find the first vectors, for maps that have just been initialised."""
        self._iterate(apply, adjoint, _FIRST_ITERATIONS)

    def forward(self, apply: Map, adjoint: Map) -> Tensor:
        """Return the singular values, shape ``(count,)``; their gradient is that of Miyato et al., equation 10.

        Args:
            apply: From ``(count, size)`` to ``(count, other)``, linear in each row.
            adjoint: Its transpose.
        """
        if self.training:
            with torch.no_grad():
                self._iterate(apply, adjoint, self.iterations)
        norms: Tensor = torch.linalg.vector_norm(apply(self.vectors), dim=-1)
        return norms

    def _iterate(self, apply: Map, adjoint: Map, iterations: int) -> None:
        vectors = self.vectors
        for _ in range(iterations):
            vectors = functional.normalize(adjoint(apply(vectors)), dim=-1)
        # A new tensor, because the graph of this step may still hold the old one.
        self.vectors = vectors


def limit(sigma: Tensor, bound: float) -> Tensor:
    """Return what maps are multiplied with so that no singular value is above a bound: exactly 1 below it."""
    return bound / sigma.clamp_min(bound)


class SpectralPenalty(nn.Module):
    """``sum max(0, sigma_1(W) - bound)^2`` over matrices; exactly 0 where all are within the bound.

    Matrices of equal shape are iterated together.

    Args:
        parameters: Those that are looked at: the matrices among them with more than ``min_size`` entries.
        bound: What a singular value may be.
        min_size: Smaller ones are left alone.
        iterations: Iterations of each training step.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], bound: float = 1.0, min_size: int = 100, iterations: int = 1
    ) -> None:
        super().__init__()
        self.bound = bound
        groups: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for parameter in parameters:
            if parameter.dim() == 2 and parameter.numel() > min_size:
                groups[parameter.shape].append(parameter)
        self._groups = list(groups.values())
        norms = [SpectralNorm(len(group), group[0].shape[1], iterations) for group in self._groups]
        self._norms = nn.ModuleList(norms).to(self._groups[0][0].device if self._groups else "cpu")
        for group, norm in zip(self._groups, norms, strict=True):
            norm.begin(*_maps(torch.stack([parameter.detach() for parameter in group])))

    def forward(self) -> Tensor:
        """Return the penalty, a scalar."""
        found = [
            (norm(*_maps(torch.stack(list(group)))) - self.bound).clamp_min(0.0).square().sum()
            for group, norm in zip(self._groups, self._norms, strict=True)
        ]
        return torch.stack(found).sum() if found else torch.zeros(())

    def state(self) -> dict[str, Any]:
        """Return the vectors, for a checkpoint."""
        return dict(self.state_dict())

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned."""
        self.load_state_dict(state)


def _maps(matrices: Tensor) -> tuple[Map, Map]:
    """Return the maps of matrices ``(count, rows, columns)`` on vectors ``(count, columns)``, and their transposes."""

    def apply(vectors: Tensor) -> Tensor:
        return torch.bmm(matrices, vectors.unsqueeze(-1)).squeeze(-1)

    def adjoint(vectors: Tensor) -> Tensor:
        return torch.bmm(matrices.transpose(1, 2), vectors.unsqueeze(-1)).squeeze(-1)

    return apply, adjoint
