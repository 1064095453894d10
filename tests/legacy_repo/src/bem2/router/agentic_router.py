"""Route a sequence chunk by chunk."""

import logging
import time
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
import torch.nn as nn

from .macro_policy import MacroPolicy, MacroAction, MacroPolicyState
from .composition_engine import CompositionEngine, CompositionResult
from .trace_generator import TraceGenerator
from ...bem.modules.chunk_sticky_routing import ChunkStickyRouter

logger = logging.getLogger(__name__)


@dataclass
class RouterConfig:
    chunk_size: int = 128
    num_experts: int = 3
    hysteresis_tau: float = 0.5
    trust_region_tau: float = 1.0
    max_sequence_length: int = 2048
    enable_routing_stats: bool = True
    enable_latency_tracking: bool = True


class RoutingStep(NamedTuple):
    chunk_index: int
    action: MacroAction
    state: MacroPolicyState
    composition_result: CompositionResult
    execution_time: float


class RoutingResult(NamedTuple):
    steps: List[RoutingStep]
    total_time: float
    routing_stats: Dict
    cache_metrics: Dict
    performance_metrics: Dict


class AgenticRouter(nn.Module):
    def __init__(
        self,
        config: RouterConfig,
        macro_policy: MacroPolicy,
        composition_engine: CompositionEngine,
        chunk_router: Optional[ChunkStickyRouter] = None,
    ):
        super().__init__()
        self.config = config
        self.macro_policy = macro_policy
        self.composition_engine = composition_engine
        self.chunk_router = chunk_router
        self.token_embedding = nn.Embedding(32000, macro_policy.chunk_encoder.in_features)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: Optional[torch.Tensor] = None,
        base_model: Optional[nn.Module] = None,
        return_routing_info: bool = True,
        training_mode: bool = False,
    ) -> Tuple[torch.Tensor, Optional[RoutingResult]]:
        started, steps, previous, summaries = time.time(), [], None, []
        for index, chunk in enumerate(input_ids.split(self.config.chunk_size, dim=1)):
            begun = time.time()
            state = self._generate_chunk_state(chunk, index, previous)
            output = self.macro_policy(state, sample=training_mode, temperature=1.0 if training_mode else 0.1)
            action = MacroAction.from_tensor(output["actions"][0].detach())
            result = self.composition_engine.compose_action(action, index, input_ids.shape[1])
            steps.append(RoutingStep(index, action, state, result, time.time() - begun))
            previous = output["actions"].detach()
            summaries.append(state.chunk_summary)
        info = RoutingResult(steps, time.time() - started, self._compute_routing_stats(steps), {}, {})
        return torch.stack(summaries, dim=1), info if return_routing_info else None

    def _generate_chunk_state(self, chunk: torch.Tensor, index: int, previous) -> MacroPolicyState:
        batch = chunk.shape[0]
        encoders = self.macro_policy.aux_encoders
        return MacroPolicyState(
            self.token_embedding(chunk).mean(dim=1),
            *(torch.zeros(batch, encoders[i].in_features) for i in range(3)),
            previous,
            torch.full((batch,), index),
        )

    def _compute_routing_stats(self, routing_steps: List[RoutingStep]) -> Dict:
        experts = [step.action.expert_id for step in routing_steps]
        flips = sum(a != b for a, b in zip(experts, experts[1:]))
        return {"num_chunks": len(experts), "flip_rate": flips / max(1, len(experts) - 1)}

    def generate_routing_trace(self, input_ids: torch.Tensor) -> Dict:
        _, info = self(input_ids)
        return {"actions": [step.action for step in info.steps], "stats": info.routing_stats}


def create_agentic_router(
    config: Dict,
    macro_policy: MacroPolicy,
    composition_engine: CompositionEngine,
    chunk_router: Optional[ChunkStickyRouter] = None,
) -> AgenticRouter:
    return AgenticRouter(RouterConfig(**config), macro_policy, composition_engine, chunk_router)
