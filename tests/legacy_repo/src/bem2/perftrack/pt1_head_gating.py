"""
PT1: Head-Group Gating

Gates over groups of attention heads. Each group has a low-rank update, and a small network decides from the
hidden states how much each of them counts.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from typing import Dict, List, Optional, Tuple
from dataclasses import dataclass
import math
import logging

from ..security.parameter_protection import ParameterGuard
try:
    from bem_legacy.modules.governance import SpectralGovernance
except ImportError:
    from src.bem_legacy.modules.governance import SpectralGovernance

logger = logging.getLogger(__name__)


@dataclass
class HeadGroupGatingConfig:
    """Configuration for head-group gating."""
    # groups
    num_groups: int = 4
    heads_per_group: int = 2
    rank_per_group: int = 2
    # gates
    gate_temperature: float = 1.0
    gate_dropout: float = 0.1
    decorrelation_strength: float = 0.1
    # what the gates see
    use_attention_stats: bool = True
    attention_stat_dim: int = 16
    use_retrieval_quality: bool = True
    retrieval_quality_dim: int = 8
    # governance
    max_singular_value: float = 1.0
    fro_budget: float = 0.8
    budget_tolerance: float = 0.05


class AttentionStatExtractor(nn.Module):
    """Statistics of the attention and features of the hidden states."""

    def __init__(self, config: HeadGroupGatingConfig, hidden_size: int):
        super().__init__()
        self.config = config
        self.attention_processor = nn.Sequential(
            nn.Linear(hidden_size, config.attention_stat_dim),
            nn.LayerNorm(config.attention_stat_dim),
            nn.GELU(),
        )
        self.ema_momentum = 0.99
        self.register_buffer('attention_ema', torch.zeros(hidden_size))
        self.register_buffer('attention_var_ema', torch.zeros(hidden_size))

    def forward(self, attention_weights: Optional[torch.Tensor], hidden_states: torch.Tensor) -> torch.Tensor:
        """attention_weights [B, H, S, S] or None, hidden_states [B, S, D] -> [B, attention_stat_dim]"""
        pooled = hidden_states.mean(dim=1)
        if attention_weights is not None:
            # only looked at in a debugger
            entropy = -(attention_weights * torch.log(attention_weights + 1e-8)).sum(dim=-1).mean(dim=(1, 2))
            variance = attention_weights.var(dim=-1).mean(dim=(1, 2))
            logger.debug(f"attention entropy {entropy.mean().item():.4f} variance {variance.mean().item():.4f}")
        if self.training:
            with torch.no_grad():
                self.attention_ema.mul_(self.ema_momentum).add_(pooled.mean(dim=0) * (1 - self.ema_momentum))
                self.attention_var_ema.mul_(self.ema_momentum).add_(
                    pooled.var(dim=0, unbiased=False) * (1 - self.ema_momentum)
                )
        return self.attention_processor(pooled)


class RetrievalQualityScorer(nn.Module):
    """How good the retrieved context is, from 0 to 1."""

    def __init__(self, config: HeadGroupGatingConfig, hidden_size: int):
        super().__init__()
        self.config = config
        self.quality_scorer = nn.Sequential(
            nn.Linear(hidden_size, config.retrieval_quality_dim),
            nn.LayerNorm(config.retrieval_quality_dim),
            nn.ReLU(),
            nn.Linear(config.retrieval_quality_dim, 1),
            nn.Sigmoid(),
        )

    def forward(self, hidden_states: torch.Tensor, retrieval_context: Optional[torch.Tensor] = None) -> torch.Tensor:
        """hidden_states [B, S, D], retrieval_context [B, R, D] -> [B, 1]"""
        query = hidden_states.mean(dim=1)
        if retrieval_context is not None:
            # the width of the scorer is that of one of them, so they are added up
            query = 0.5 * (query + retrieval_context.mean(dim=1))
        return self.quality_scorer(query)


class AttentionGateController(nn.Module):
    """Computes the gates of the groups."""

    def __init__(self, config: HeadGroupGatingConfig, hidden_size: int):
        super().__init__()
        self.config = config
        self.hidden_size = hidden_size
        self.attention_extractor = AttentionStatExtractor(config, hidden_size)
        self.retrieval_scorer = RetrievalQualityScorer(config, hidden_size)
        gate_input_dim = config.attention_stat_dim + config.retrieval_quality_dim + 1
        self.gate_network = nn.Sequential(
            nn.Linear(gate_input_dim, config.num_groups * 2),
            nn.LayerNorm(config.num_groups * 2),
            nn.ReLU(),
            nn.Dropout(config.gate_dropout),
            nn.Linear(config.num_groups * 2, config.num_groups),
        )
        self.register_buffer('gate_correlation_ema', torch.eye(config.num_groups))

    def compute_gates(
        self,
        attention_weights: Optional[torch.Tensor],
        hidden_states: torch.Tensor,
        retrieval_context: Optional[torch.Tensor] = None
    ) -> Tuple[torch.Tensor, Dict[str, torch.Tensor]]:
        # both look at the mean over the sequence, which is computed once
        pooled = hidden_states.mean(dim=1, keepdim=True)
        stats = self.attention_extractor(attention_weights, pooled)
        quality = self.retrieval_scorer(pooled, retrieval_context)
        quality_expanded = quality.expand(-1, self.config.retrieval_quality_dim)
        gate_input = torch.cat([stats, quality_expanded, quality], dim=-1)

        logits = self.gate_network(gate_input) / self.config.gate_temperature
        gates = F.softmax(logits, dim=-1)
        entropy = -(gates * torch.log(gates + 1e-8)).sum(dim=-1).mean()

        penalty = torch.zeros((), device=gates.device)
        if self.training and gates.shape[0] > 1:
            flat = gates.view(-1, self.config.num_groups)
            centred = flat - flat.mean(dim=0, keepdim=True)
            normed = centred / (centred.norm(dim=0, keepdim=True) + 1e-8)
            correlation = normed.t() @ normed
            smoothed = 0.99 * self.gate_correlation_ema + 0.01 * correlation
            eye = torch.eye(self.config.num_groups, device=gates.device)
            penalty = torch.sum(torch.abs(smoothed - eye))
            # without the graph, which the backward pass of this step frees
            self.gate_correlation_ema = smoothed.detach()

        return gates, {
            'gates': gates,
            'gate_entropy': entropy,
            'decorrelation_penalty': penalty,
            'decorrelation_loss': self.config.decorrelation_strength * penalty,
            'retrieval_quality': quality,
        }


class HeadGroupGatingModule(nn.Module):
    """PT1. The sum of the groups' low-rank updates, each times its gate, is added to the hidden states."""

    def __init__(self, config: HeadGroupGatingConfig, layer_idx: int, hidden_size: int, num_attention_heads: int):
        super().__init__()
        if num_attention_heads % config.num_groups != 0:
            raise ValueError(
                f"num_attention_heads ({num_attention_heads}) must be divisible by num_groups ({config.num_groups})"
            )
        self.config = config
        self.layer_idx = layer_idx
        self.hidden_size = hidden_size
        self.num_attention_heads = num_attention_heads
        self.heads_per_group = num_attention_heads // config.num_groups
        self.gate_controller = AttentionGateController(config, hidden_size)
        self.group_projections = nn.ModuleList([
            nn.ModuleDict({
                'U': nn.Linear(hidden_size, config.rank_per_group, bias=False),
                'V': nn.Linear(config.rank_per_group, hidden_size, bias=False),
            })
            for _ in range(config.num_groups)
        ])
        self.spectral_gov = SpectralGovernance(max_singular_value=config.max_singular_value)
        self.param_protector = ParameterGuard()
        self._initialize_parameters()

    def _initialize_parameters(self):
        for projection in self.group_projections:
            nn.init.orthogonal_(projection['U'].weight)
            nn.init.xavier_uniform_(projection['V'].weight, gain=0.1)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_weights: Optional[torch.Tensor] = None,
        retrieval_context: Optional[torch.Tensor] = None,
        output_attentions: bool = False
    ) -> Tuple[torch.Tensor, Optional[Dict[str, torch.Tensor]]]:
        gates, gate_info = self.gate_controller.compute_gates(attention_weights, hidden_states, retrieval_context)

        total_delta = torch.zeros_like(hidden_states)
        group_outputs = []
        for i, projection in enumerate(self.group_projections):
            delta = projection['V'](projection['U'](hidden_states))
            delta, _ = self.spectral_gov.apply_spectral_clamp(delta, f'layer_{self.layer_idx}_group_{i}')
            delta = gates[:, i].view(-1, 1, 1) * delta
            group_outputs.append(delta)
            total_delta = total_delta + delta
        output = hidden_states + total_delta

        info = None
        if output_attentions:
            info = dict(gate_info)
            info['group_outputs'] = group_outputs
            info['total_budget'] = self.get_parameter_count()['total']
        return output, info

    def get_parameter_count(self) -> Dict[str, int]:
        gate = sum(p.numel() for p in self.gate_controller.parameters())
        groups = sum(p.numel() for p in self.group_projections.parameters())
        return {'gate_controller': gate, 'group_projections': groups, 'total': gate + groups}

    def get_flop_count(self, batch_size: int, seq_len: int) -> Dict[str, int]:
        tokens = batch_size * seq_len
        groups = self.config.num_groups * 4 * tokens * self.hidden_size * self.config.rank_per_group
        gate = 2 * batch_size * sum(p.numel() for p in self.gate_controller.parameters())
        return {'gate_controller': gate, 'group_projections': groups, 'total': gate + groups}

    def compute_budget_metrics(self, batch_size: int = 32, seq_len: int = 128) -> Dict[str, float]:
        params = self.get_parameter_count()['total']
        flops = self.get_flop_count(batch_size, seq_len)['total']
        return {
            'total_params': params,
            'total_flops': flops,
            'params_per_group': params / self.config.num_groups,
            'memory_mb': params * 4 / (1024 * 1024),
            'log_flops': math.log10(max(flops, 1)),
        }
