"""
Governance of BEM deltas and of routing decisions.

- SpectralGovernance: clamps the singular values of a delta
- FrobeniusConstraint: one budget for the norms of all deltas
- GateDecorrelationPenalty: keeps the experts from being used together
- FlipPenalty: keeps the routing from changing too often
- BEMGovernance: all of them
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from typing import Dict, List, Optional, Tuple
import math


class SpectralGovernance(nn.Module):
    """Clamp the singular values of a delta, with a moving average of the largest one."""

    def __init__(self, max_singular_value: float = 1.0, layer_specific: bool = True, smoothing_momentum: float = 0.9):
        super().__init__()
        self.max_singular_value = max_singular_value
        self.layer_specific = layer_specific
        self.smoothing_momentum = smoothing_momentum
        self.register_buffer('layer_sigma1_ema', torch.tensor(0.0))
        self.register_buffer('update_count', torch.tensor(0, dtype=torch.long))

    def apply_spectral_clamp(
        self,
        delta_w: torch.Tensor,
        layer_name: Optional[str] = None,
        target_sigma1: Optional[float] = None
    ) -> Tuple[torch.Tensor, Dict[str, float]]:
        """
        Args:
            delta_w: a weight delta [out, in] or a delta of activations [B, S, D]; the latter is taken as [B*S, D]
            layer_name: only for messages
            target_sigma1: in place of max_singular_value

        Returns:
            the delta with singular values of at most the target, and statistics
        """
        target = self.max_singular_value if target_sigma1 is None else target_sigma1
        original_shape = delta_w.shape
        matrix = delta_w.reshape(-1, original_shape[-1]) if delta_w.dim() > 2 else delta_w

        # Without the graph: most singular values of a low-rank delta are equal (0), where the SVD has no gradient.
        with torch.no_grad():
            _, singular_values, vh = torch.linalg.svd(matrix, full_matrices=False)
        sigma1 = singular_values[0].item()

        if self.training:
            with torch.no_grad():
                if self.update_count.item() == 0:
                    self.layer_sigma1_ema.fill_(sigma1)
                else:
                    self.layer_sigma1_ema.mul_(self.smoothing_momentum).add_(sigma1 * (1 - self.smoothing_momentum))
                self.update_count.add_(1)

        was_clamped = sigma1 > target
        if was_clamped:
            # U min(S, target) V^T = (U S V^T) V min(1, target / S) V^T
            keep = torch.clamp(target / singular_values.clamp(min=1e-12), max=1.0)
            clamped = (((matrix @ vh.t()) * keep) @ vh).reshape(original_shape)
        else:
            clamped = delta_w

        smallest = singular_values[-1].item()
        stats = {
            'original_sigma1': sigma1,
            'clamped_sigma1': min(sigma1, target),
            'was_clamped': was_clamped,
            'sigma1_ema': self.layer_sigma1_ema.item(),
            'condition_number': sigma1 / smallest if smallest > 1e-8 else float('inf'),
        }
        return clamped, stats


class FrobeniusConstraint(nn.Module):
    """Scale all deltas so that their joint Frobenius norm is within a budget."""

    def __init__(self, fro_budget: float = 1.0, adaptive_budget: bool = True, budget_decay: float = 0.99):
        super().__init__()
        self.base_fro_budget = fro_budget
        self.adaptive_budget = adaptive_budget
        self.budget_decay = budget_decay
        self.register_buffer('current_budget', torch.tensor(fro_budget))
        self.register_buffer('violation_count', torch.tensor(0, dtype=torch.long))
        self.register_buffer('total_updates', torch.tensor(0, dtype=torch.long))

    def apply_frobenius_constraint(
        self, delta_weights: List[torch.Tensor], layer_names: Optional[List[str]] = None
    ) -> Tuple[List[torch.Tensor], Dict[str, float]]:
        if not delta_weights:
            return [], {'total_fro_norm': 0.0, 'was_constrained': False, 'scale': 1.0}
        total = torch.sqrt(sum(torch.sum(w * w) for w in delta_weights))
        budget = self.current_budget.item()
        violated = total.item() > budget
        scale = budget / total if violated else torch.ones_like(total)
        constrained = [w * scale for w in delta_weights] if violated else list(delta_weights)
        if self.training:
            with torch.no_grad():
                self.total_updates.add_(1)
                if violated:
                    self.violation_count.add_(1)
                if self.adaptive_budget:
                    rate = self.violation_count.item() / self.total_updates.item()
                    goal = self.base_fro_budget * (1.0 + 0.5 * rate)
                    self.current_budget.mul_(self.budget_decay).add_(goal * (1 - self.budget_decay))
        return constrained, {
            'total_fro_norm': total.item(),
            'was_constrained': violated,
            'scale': scale.item(),
            'budget': budget,
        }


class GateDecorrelationPenalty(nn.Module):
    """Squared off-diagonal correlation of the routing weights over the batch."""

    def __init__(self, penalty_weight: float = 0.01, target_correlation: float = 0.0, temporal_smoothing: float = 0.9):
        super().__init__()
        self.penalty_weight = penalty_weight
        self.target_correlation = target_correlation
        self.temporal_smoothing = temporal_smoothing
        self.register_buffer('expert_usage_ema', None)

    def compute_decorrelation_loss(
        self, routing_weights: torch.Tensor, expert_indices: Optional[torch.Tensor] = None
    ) -> Dict[str, torch.Tensor]:
        flat = routing_weights.reshape(-1, routing_weights.shape[-1])
        num_experts = flat.shape[-1]
        usage = flat.mean(dim=0)
        if self.training:
            with torch.no_grad():
                if self.expert_usage_ema is None:
                    self.expert_usage_ema = usage.clone()
                else:
                    self.expert_usage_ema.mul_(self.temporal_smoothing).add_(usage * (1 - self.temporal_smoothing))
        if flat.shape[0] < 2 or num_experts < 2:
            zero = flat.sum() * 0.0
            return {'decorrelation_loss': zero, 'mean_correlation': zero.detach(), 'expert_usage': usage}
        centred = flat - usage
        normed = centred / (centred.norm(dim=0, keepdim=True) + 1e-8)
        correlation = normed.T @ normed
        mask = ~torch.eye(num_experts, dtype=torch.bool, device=flat.device)
        loss = ((correlation[mask] - self.target_correlation) ** 2).mean()
        return {
            'decorrelation_loss': self.penalty_weight * loss,
            'mean_correlation': correlation[mask].abs().mean().detach(),
            'expert_usage': usage,
        }


class FlipPenalty(nn.Module):
    """Penalty on routing that changes more often than it should."""

    def __init__(self, penalty_weight: float = 0.1, temporal_window: int = 10, target_flip_rate: float = 0.1):
        super().__init__()
        self.penalty_weight = penalty_weight
        self.temporal_window = temporal_window
        self.target_flip_rate = target_flip_rate
        self.register_buffer('flip_history', torch.zeros(temporal_window))
        self.register_buffer('history_index', torch.tensor(0, dtype=torch.long))

    def compute_flip_penalty(
        self, current_expert_indices: torch.Tensor, previous_expert_indices: Optional[torch.Tensor] = None
    ) -> Dict[str, torch.Tensor]:
        device = current_expert_indices.device
        if previous_expert_indices is None:
            return {'flip_penalty': torch.tensor(0.0, device=device), 'flip_rate': torch.tensor(0.0, device=device)}
        rate = (current_expert_indices != previous_expert_indices).float().mean()
        if self.training:
            with torch.no_grad():
                self.flip_history[self.history_index.item() % self.temporal_window] = rate
                self.history_index.add_(1)
        penalty = self.penalty_weight * F.relu(rate - self.target_flip_rate)
        return {'flip_penalty': penalty, 'flip_rate': rate, 'average_flip_rate': self.flip_history.mean()}


class BEMGovernance(nn.Module):
    """All limits together."""

    def __init__(
        self,
        max_singular_value: float = 1.0,
        fro_budget: float = 1.0,
        decorrelation_weight: float = 0.01,
        flip_penalty_weight: float = 0.1,
        **kwargs
    ):
        super().__init__()
        self.spectral_gov = SpectralGovernance(max_singular_value)
        self.frobenius_constraint = FrobeniusConstraint(fro_budget)
        self.decorrelation_penalty = GateDecorrelationPenalty(decorrelation_weight)
        self.flip_penalty = FlipPenalty(flip_penalty_weight)

    def apply_governance(
        self,
        delta_weights: List[torch.Tensor],
        routing_weights: torch.Tensor,
        current_expert_indices: torch.Tensor,
        previous_expert_indices: Optional[torch.Tensor] = None,
        layer_names: Optional[List[str]] = None,
    ) -> Tuple[List[torch.Tensor], Dict[str, any]]:
        stats = {'spectral': []}
        governed = []
        for i, delta in enumerate(delta_weights):
            name = layer_names[i] if layer_names else f'layer_{i}'
            clamped, spectral = self.spectral_gov.apply_spectral_clamp(delta, name)
            governed.append(clamped)
            stats['spectral'].append(spectral)
        governed, stats['frobenius'] = self.frobenius_constraint.apply_frobenius_constraint(governed, layer_names)
        stats['decorrelation'] = self.decorrelation_penalty.compute_decorrelation_loss(
            routing_weights, current_expert_indices
        )
        stats['flips'] = self.flip_penalty.compute_flip_penalty(current_expert_indices, previous_expert_indices)
        stats['total_penalty'] = stats['decorrelation']['decorrelation_loss'] + stats['flips']['flip_penalty']
        stats['log_budget'] = math.log(max(stats['frobenius'].get('budget', 1.0), 1e-8))
        return governed, stats


def create_bem_governance(config: Optional[Dict] = None) -> BEMGovernance:
    return BEMGovernance(**(config or {}))
