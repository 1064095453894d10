"""Limits on deltas and on routing decisions."""

from typing import Dict, List, Optional, Tuple

import torch
import torch.nn as nn


class SpectralGovernance(nn.Module):
    def __init__(self, max_singular_value: float = 1.0, layer_specific: bool = True, smoothing_momentum: float = 0.9):
        super().__init__()
        self.max_singular_value, self.layer_specific = max_singular_value, layer_specific
        self.smoothing_momentum = smoothing_momentum
        self.register_buffer("layer_sigma1_ema", torch.tensor(0.0))

    def apply_spectral_clamp(
        self, delta_w: torch.Tensor, layer_name: Optional[str] = None, target_sigma1: Optional[float] = None
    ) -> Tuple[torch.Tensor, Dict[str, float]]:
        target = target_sigma1 or self.max_singular_value
        flat = delta_w.reshape(-1, delta_w.shape[-1])
        u, s, vh = torch.linalg.svd(flat, full_matrices=False)
        sigma1 = s[0].detach()
        if self.training:
            self.layer_sigma1_ema.mul_(self.smoothing_momentum).add_(sigma1, alpha=1 - self.smoothing_momentum)
        clamped = (u * s.clamp_max(target)) @ vh if float(sigma1) > target else flat
        stats = {
            "original_sigma1": float(sigma1),
            "clamped_sigma1": min(float(sigma1), target),
            "was_clamped": float(sigma1) > target,
            "sigma1_ema": float(self.layer_sigma1_ema),
        }
        return clamped.reshape(delta_w.shape), stats


class FrobeniusConstraint(nn.Module):
    def __init__(self, fro_budget: float = 1.0, adaptive_budget: bool = True, budget_decay: float = 0.99):
        super().__init__()
        self.fro_budget, self.adaptive_budget, self.budget_decay = fro_budget, adaptive_budget, budget_decay

    def apply_frobenius_constraint(
        self, delta_weights: List[torch.Tensor], layer_names: Optional[List[str]] = None
    ) -> Tuple[List[torch.Tensor], Dict[str, float]]:
        total = torch.stack([w.pow(2).sum() for w in delta_weights]).sum().sqrt()
        scale = (self.fro_budget / total.clamp_min(1e-12)).clamp_max(1.0)
        return [w * scale for w in delta_weights], {"total_norm": float(total), "scale": float(scale)}


class FlipPenalty(nn.Module):
    def __init__(self, penalty_weight: float = 0.1, temporal_window: int = 10, target_flip_rate: float = 0.1):
        super().__init__()
        self.penalty_weight, self.target_flip_rate = penalty_weight, target_flip_rate

    def compute_flip_penalty(
        self, current_expert_indices: torch.Tensor, previous_expert_indices: Optional[torch.Tensor] = None
    ) -> Dict[str, torch.Tensor]:
        if previous_expert_indices is None:
            return {"flip_penalty": torch.tensor(0.0), "flip_rate": torch.tensor(0.0)}
        rate = (current_expert_indices != previous_expert_indices).float().mean()
        return {"flip_penalty": self.penalty_weight * (rate - self.target_flip_rate).clamp_min(0), "flip_rate": rate}


class BEMGovernance(nn.Module):
    def __init__(self, max_singular_value: float = 1.0, fro_budget: float = 1.0, flip_penalty_weight: float = 0.1):
        super().__init__()
        self.spectral = SpectralGovernance(max_singular_value)
        self.frobenius = FrobeniusConstraint(fro_budget)
        self.flips = FlipPenalty(flip_penalty_weight)


def create_bem_governance(config: Optional[Dict] = None) -> BEMGovernance:
    return BEMGovernance(**(config or {}))
