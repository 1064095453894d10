"""
Puts a variant of the performance track on a frozen language model, so that PTTrainer can train it.

PTTrainer calls model(inputs, output_attentions=True) and wants logits; the variants want hidden states. Here each
target module of the language model is followed by a variant that changes its output.
"""

import torch
import torch.nn as nn
from typing import Any, Dict, List, Optional, Tuple
import fnmatch
import logging

from .pt1_head_gating import HeadGroupGatingModule, HeadGroupGatingConfig
from .pt2_dynamic_mask import DynamicRankMaskModule, DynamicRankMaskConfig
from .pt3_kronecker import KroneckerModule, KroneckerConfig
from .pt4_residual_film import ResidualFiLMModule, ResidualFiLMConfig

logger = logging.getLogger(__name__)

# where a variant is attached if nobody says otherwise
DEFAULT_SITES = {
    "PT1": ["*attention.w_o", "*self_attn.o_proj"],
    "PT2": ["*attention.w_o", "*self_attn.o_proj", "*mlp.w_down", "*mlp.down_proj"],
    "PT3": ["*mlp.w_down", "*mlp.down_proj"],
    "PT4": ["*mlp.w_down", "*mlp.down_proj"],
}


class PTWrappedModule(nn.Module):
    """A module of the language model and the variant behind it."""

    def __init__(self, base: nn.Module, adapter: nn.Module, variant_type: str):
        super().__init__()
        self.base = base
        self.adapter = adapter
        self.variant_type = variant_type
        self.last_info: Optional[Dict[str, Any]] = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden_states = self.base(x)
        if self.variant_type == "PT1":
            output, self.last_info = self.adapter(hidden_states, None, output_attentions=True)
        elif self.variant_type == "PT3":
            output, self.last_info = self.adapter(hidden_states, x, output_attentions=True)
        else:
            output, self.last_info = self.adapter(hidden_states, output_attentions=True)
        return output


class PTLanguageModel(nn.Module):
    """A frozen causal language model with variants in it."""

    def __init__(
        self,
        base_model: nn.Module,
        variant_type: str,
        variant_config: Any = None,
        sites: Optional[List[str]] = None,
        num_attention_heads: int = 8,
    ):
        super().__init__()
        self.variant_type = variant_type
        self.base_model = base_model
        for param in self.base_model.parameters():
            param.requires_grad = False

        patterns = sites or DEFAULT_SITES[variant_type]
        names = [
            name for name, module in base_model.named_modules()
            if isinstance(module, nn.Linear) and any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
        ]
        if not names:
            raise ValueError(f"no module matches {patterns}")
        self.wrapped: List[PTWrappedModule] = []
        for i, name in enumerate(names):
            parent_name, _, child_name = name.rpartition(".")
            parent = base_model.get_submodule(parent_name) if parent_name else base_model
            linear = getattr(parent, child_name)
            adapter = self._create_adapter(variant_type, variant_config, i, linear, num_attention_heads)
            wrapped = PTWrappedModule(linear, adapter, variant_type)
            setattr(parent, child_name, wrapped)
            self.wrapped.append(wrapped)
        logger.info(f"{variant_type} attached to {len(names)} modules")

    def _create_adapter(self, variant_type, config, layer_idx, linear, num_attention_heads) -> nn.Module:
        hidden_size = linear.out_features
        if variant_type == "PT1":
            return HeadGroupGatingModule(config or HeadGroupGatingConfig(), layer_idx, hidden_size, num_attention_heads)
        if variant_type == "PT2":
            return DynamicRankMaskModule(config or DynamicRankMaskConfig(), layer_idx, hidden_size)
        if variant_type == "PT3":
            return KroneckerModule(config or KroneckerConfig(), layer_idx, hidden_size, linear.in_features)
        if variant_type == "PT4":
            return ResidualFiLMModule(config or ResidualFiLMConfig(), layer_idx, hidden_size)
        raise ValueError(f"Unknown variant: {variant_type}")

    def forward(
        self, input_ids: torch.Tensor, output_attentions: bool = False
    ) -> Tuple[torch.Tensor, Dict[str, torch.Tensor]]:
        """input_ids [B, S] -> logits [B, S, V] and what the variants say, stacked over the sites"""
        outputs = self.base_model(input_ids)
        logits = outputs.logits if hasattr(outputs, "logits") else outputs
        info: Dict[str, torch.Tensor] = {}
        for key, value in self.wrapped[0].last_info.items():
            if isinstance(value, torch.Tensor):
                info[key] = torch.stack([w.last_info[key] for w in self.wrapped])
        return logits, info
