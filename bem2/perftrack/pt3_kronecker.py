"""PT3: an update of a weight that is a projection of a Kronecker product.

``W x + P (U kron V) x``. The product is never formed: with X, the input as a matrix in row-major order,
``(U kron V) vec(X) = vec(U X V^T)`` (Van Loan, The ubiquitous Kronecker product, 2000, section 2). Shapes as in
`adapter`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from bem2.perftrack.adapter import Adapter, Site, unit
from bem2.perftrack.spectral import Map, SpectralNorm, limit
from bem_core.config.schema import NonNegative, Positive, PositiveFloat


@dataclass(frozen=True, kw_only=True)
class KroneckerConfig:
    """Settings of PT3.

    Attributes:
        u_rank: Rows of U.
        v_rank: Rows of V.
        u_dim: Columns of U; with `v_dim` a factor of the inputs of the adapted module.
        v_dim: Columns of V.
        init_method: Rows from the singular vectors of a random matrix, orthogonal ones, or random ones; ``xavier`` is
            ``random``, since each row is scaled.
        init_scale: Norm of each row at the beginning.
        orthogonal_reg: Weight of the distance of the rows from orthonormal ones in the loss.
        diversity_reg: Weight of the variance within the rows, which is raised.
        max_singular_value: Bound of the spectral norm of the update.
    """

    u_rank: Positive = 8
    v_rank: Positive = 8
    u_dim: Positive = 64
    v_dim: Positive = 64
    init_method: Literal["svd", "orthogonal", "random", "xavier"] = "svd"
    init_scale: PositiveFloat = 0.1
    orthogonal_reg: NonNegative = 0.01
    diversity_reg: NonNegative = 0.001
    max_singular_value: PositiveFloat = 1.0


class KroneckerFactorization(nn.Module):
    """The two factors."""

    def __init__(self, config: KroneckerConfig) -> None:
        super().__init__()
        self.config = config
        self.U = nn.Parameter(torch.empty(config.u_rank, config.u_dim))
        self.V = nn.Parameter(torch.empty(config.v_rank, config.v_dim))
        with torch.no_grad():
            for factor, rows in zip((self.U, self.V), self._rows(), strict=True):
                factor.copy_(unit(rows) * config.init_scale)

    def _rows(self) -> tuple[Tensor, Tensor]:
        config, shapes = self.config, (self.U.shape, self.V.shape)
        if config.init_method == "svd":
            u, _, vh = torch.linalg.svd(torch.randn(config.u_dim, config.v_dim), full_matrices=False)
            return u[:, : config.u_rank].t(), vh[: config.v_rank]
        if config.init_method == "orthogonal":
            first, second = (nn.init.orthogonal_(torch.empty(shape)) for shape in shapes)
            return first, second
        return torch.randn(shapes[0]), torch.randn(shapes[1])

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(U kron V) x`` for vectors in the last dimension."""
        blocks = x.reshape(*x.shape[:-1], self.U.shape[1], self.V.shape[1])
        return torch.matmul(torch.matmul(self.U, blocks), self.V.t()).flatten(-2)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return ``(U kron V)^T y``."""
        blocks = y.reshape(*y.shape[:-1], self.U.shape[0], self.V.shape[0])
        return torch.matmul(torch.matmul(self.U.t(), blocks), self.V).flatten(-2)

    def terms(self) -> dict[str, Tensor]:
        """Return the distance from orthonormal rows and the negative variance within rows, with their weights."""
        distance = _distance(self.U) + _distance(self.V)
        diversity = -self.U.var(dim=1).sum() - self.V.var(dim=1).sum()
        return {
            "kronecker_orthogonality": self.config.orthogonal_reg * distance,
            "kronecker_diversity": self.config.diversity_reg * diversity,
        }


def _distance(rows: Tensor) -> Tensor:
    """Return ``|A A^T - 1|^2``."""
    return torch.sum((rows @ rows.t() - torch.eye(len(rows), device=rows.device)) ** 2)


class KroneckerModule(Adapter):
    """The adapter of PT3, for modules such as ``mlp.w_down`` whose input is wide."""

    loss_weights: ClassVar[dict[str, float]] = {"kronecker_orthogonality": 1.0, "kronecker_diversity": 1.0}

    def __init__(self, config: KroneckerConfig, site: Site) -> None:
        super().__init__()
        self.config, self.site = config, site
        self.kronecker = KroneckerFactorization(config)
        self.output_projection = nn.Linear(config.u_rank * config.v_rank, site.out_features, bias=False)
        self.norm = SpectralNorm(1, site.in_features, site.iterations)
        self.norm.begin(*self._maps())

    @classmethod
    def problems(cls, config: KroneckerConfig, site: Site) -> dict[str, str]:
        """Return what does not fit the site."""
        found = {}
        size, ranks = config.u_dim * config.v_dim, config.u_rank * config.v_rank
        if size != site.in_features:
            found["u_dim"] = f"expected u_dim * v_dim = {site.in_features}, the inputs of {site.name}, found {size}"
        if ranks > site.out_features:
            wanted = f"at most {site.out_features}, the outputs of {site.name}"
            found["u_rank"] = f"expected u_rank * v_rank to be {wanted}, found {ranks}"
        least = min(config.u_dim, config.v_dim)
        if config.init_method == "svd" and max(config.u_rank, config.v_rank) > least:
            found["init_method"] = f"svd has {least} vectors for each factor, which is fewer than u_rank or v_rank"
        return found

    def delta(self, hidden_BLD: Tensor, input_BLI: Tensor) -> Tensor:
        """Return the update for the input of the module."""
        update = self.output_projection(self.kronecker(input_BLI) * self._limit())
        self.terms = self.kronecker.terms()
        return update  # type: ignore[no-any-return]

    def merged(self, weight_DI: Tensor, bias_D: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the weight that includes the update, and the bias as it is."""
        return weight_DI + self._limit() * self.kronecker.adjoint(self.output_projection.weight), bias_D

    def _limit(self) -> Tensor:
        return limit(self.norm(*self._maps()), self.config.max_singular_value)

    def _maps(self) -> tuple[Map, Map]:
        weight = self.output_projection.weight
        return lambda x: self.kronecker(x) @ weight.t(), lambda y: self.kronecker.adjoint(y @ weight)
