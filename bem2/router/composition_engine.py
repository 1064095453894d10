"""Macro actions to changes of weights: low rank, within a spectral and a Frobenius budget.

A change of a layer is kept as ``left @ diag(values) @ right`` with orthonormal factors, so that its norms are those of
``values`` and no matrix of the layer's size is ever made. Shapes: B actions, E experts, R rank, I inputs, O outputs.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bem2.router.macro_policy import BIAS, EXPERT, RANK, SCOPE
from bem2.router.settings import CompositionConfig
from bem_core.errors import ConfigError, nearest

#: What a local scope leaves of a change.
LOCAL = 0.8


class LowRank(NamedTuple):
    """A change of a layer in the form of a singular value decomposition.

    Attributes:
        left: Orthonormal columns, ``(O, R)``.
        values: Singular values, falling, ``(R,)``.
        right: Orthonormal rows, ``(R, I)``.
    """

    left: Tensor
    values: Tensor
    right: Tensor

    @classmethod
    def of_factors(cls, up: Tensor, down: Tensor) -> LowRank:
        """Decompose ``up @ down``, ``(O, R)`` and ``(R, I)``, at the cost of the factors: ``O(R^2 (O + I))``.

        The QR decompositions of both leave an R x R core, whose singular values are those of the product.
        """
        q_up, r_up = torch.linalg.qr(up)
        q_down, r_down = torch.linalg.qr(down.T)
        u, values, v = torch.linalg.svd(r_up @ r_down.T, full_matrices=False)
        return cls(q_up @ u, values, v @ q_down.T)

    @classmethod
    def of_dense(cls, delta: Tensor, rank: int) -> LowRank:
        """Return the best approximation of a dense change (Eckart and Young, 1936)."""
        u, values, v = torch.linalg.svd(delta, full_matrices=False)
        return cls(u[:, :rank], values[:rank], v[:rank])

    @classmethod
    def total(cls, parts: list[LowRank]) -> LowRank:
        """Return the sum of several changes of the same layer."""
        ups = torch.cat([part.left * part.values for part in parts], 1)
        return cls.of_factors(ups, torch.cat([part.right for part in parts]))


class Budget(NamedTuple):
    """What is left of changes within their budgets.

    Attributes:
        values: Singular values, ``(B, R)``.
        scale: What they were multiplied with, ``(B,)``, 1 where the budgets do not bite.
    """

    values: Tensor
    scale: Tensor


def within_budgets(values_BR: Tensor, spectral: float, frobenius: float) -> Budget:
    """Shrink changes as a whole until their spectral and then their Frobenius norm is within its budget.

    Args:
        values_BR: Singular values, falling, at least 0.
        spectral: Greatest singular value.
        frobenius: Greatest root of the sum of their squares.
    """
    scale = _at_most(values_BR[:, 0], spectral)
    scale = scale * _at_most(torch.linalg.vector_norm(values_BR * scale[:, None], dim=1), frobenius)
    return Budget(values_BR * scale[:, None], scale)


def _at_most(norms: Tensor, budget: float) -> Tensor:
    return torch.where(norms > budget, budget / norms, torch.ones_like(norms))


class Composition(NamedTuple):
    """Changes for B actions.

    Attributes:
        experts: Whose they are, ``(B,)``.
        values: Singular values by the name of the layer, ``(B, R)``.
        scale: What the budgets left of the change that suffered most, ``(B,)``.
        violations: Changes that were over a budget, in all layers, ``(B,)``.
    """

    experts: Tensor
    values: Mapping[str, Tensor]
    scale: Tensor
    violations: Tensor


class ExpertBank(nn.Module):
    """The changes of each expert, by the name of the layer.

    Args:
        experts: For each expert, its change of each layer; all have the same rank.
    """

    def __init__(self, experts: Sequence[Mapping[str, LowRank]]) -> None:
        super().__init__()
        self.names = list(experts[0])
        for number, name in enumerate(self.names):
            for part in LowRank._fields:
                stacked = torch.stack([getattr(expert[name], part) for expert in experts])
                self.register_buffer(f"{part}_{number}", stacked)

    def part(self, name: str, field: str) -> Tensor:
        """Return ``left``, ``values`` or ``right`` of all experts for a layer."""
        found: Tensor = getattr(self, f"{field}_{self.names.index(name)}")
        return found

    @classmethod
    def random(cls, layers: Mapping[str, nn.Linear], config: CompositionConfig, seed: int) -> ExpertBank:
        """Make experts at random; the entries of a change have a standard deviation of a tenth of the expert's scale.

        Args:
            layers: Those that are changed, by name.
            config: Rank and scales.
            seed: Of the factors.
        """
        generator, experts = torch.Generator().manual_seed(seed), []
        for scale in config.scales:
            changes = {}
            for name, layer in layers.items():
                rank = min(config.rank, layer.in_features, layer.out_features)
                up = torch.randn(layer.out_features, rank, generator=generator)
                down = torch.randn(rank, layer.in_features, generator=generator)
                changes[name] = LowRank.of_factors(0.1 * scale / rank**0.5 * up, down)
            experts.append(changes)
        return cls(experts)


class CompositionEngine(nn.Module):
    """Composes the change that an action asks for, and lets a model run with it.

    Args:
        bank: The experts.
        config: Budgets.
    """

    def __init__(self, bank: ExpertBank, config: CompositionConfig) -> None:
        super().__init__()
        self.bank, self.config = bank, config

    def compose(self, actions: Tensor) -> Composition:
        """Return the changes for actions ``(B, 5)``: cut to the rank budget, scaled, then put within the budgets."""
        experts = actions[:, EXPERT].long()
        factor = actions[:, BIAS] * torch.where(actions[:, SCOPE] > 0.5, 1.0, LOCAL)
        values, scales, over = {}, [], []
        for name in self.bank.names:
            own = self.bank.part(name, "values")[experts]
            kept = torch.arange(own.shape[1], device=own.device) < actions[:, RANK, None]
            budget = within_budgets(
                own * kept * factor[:, None], self.config.spectral_budget, self.config.frobenius_budget
            )
            values[name] = budget.values
            scales.append(budget.scale)
            over.append(budget.scale < 1)
        return Composition(experts, values, torch.stack(scales).amin(0), torch.stack(over).sum(0))

    @contextmanager
    def applied(self, model: nn.Module, composition: Composition) -> Iterator[None]:
        """Let a model run with the changes; each sample of a batch has its own.

        Args:
            model: Has the layers that the experts change.
            composition: For as many actions as there are samples in a batch.
        """
        modules = dict(model.named_modules())
        handles = [modules[name].register_forward_hook(self._hook(name, composition)) for name in self.bank.names]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str, composition: Composition) -> Any:
        left, right = (self.bank.part(name, field)[composition.experts] for field in ("left", "right"))
        values = composition.values[name]

        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            inner = inputs[0] @ right.transpose(1, 2) * values[:, None]
            return output + inner @ left.transpose(1, 2)

        return add


def find_layers(model: nn.Module, patterns: list[str]) -> dict[str, nn.Linear]:
    """Return the linear layers of a model whose names match.

    Args:
        model: The base model.
        patterns: As in a shell.

    Raises:
        ConfigError: A pattern matches no linear layer.
    """
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    found: dict[str, nn.Linear] = {}
    for pattern in patterns:
        matched = fnmatch.filter(linear, pattern)
        if not matched:
            hint = nearest(pattern.lstrip("*."), linear) or f"; there are {', '.join(linear)}"
            raise ConfigError(f"composition.attachment_points: no linear layer matches {pattern!r}{hint}")
        found |= {name: linear[name] for name in matched}
    return found
