"""
Agentic router: goes through a sequence chunk by chunk, asks the policy for a macro action, composes the expert's deltas,
and runs the chunk with them.
"""

import logging
import time
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
import torch.nn as nn

from .macro_policy import MacroPolicy, MacroAction, MacroPolicyState
from .composition_engine import CompositionEngine, CompositionResult
from .trace_generator import ContentClassifier

try:
    from bem_legacy.modules.chunk_sticky_routing import ChunkStickyRouter
except ImportError:
    from src.bem_legacy.modules.chunk_sticky_routing import ChunkStickyRouter

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
        self.classifier = ContentClassifier()

        self.register_buffer("flip_count", torch.tensor(0, dtype=torch.long))
        self.register_buffer("step_count", torch.tensor(0, dtype=torch.long))
        self.routing_history = []
        self.cache_hit_count = 0
        self.cache_miss_count = 0
        self.total_routing_steps = 0
        self.step_times = []
        self.composition_times = []
        self.policy_times = []

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: Optional[torch.Tensor] = None,
        base_model: Optional[nn.Module] = None,
        return_routing_info: bool = True,
        training_mode: bool = False,
    ) -> Tuple[torch.Tensor, Optional[RoutingResult]]:
        start_time = time.time()
        batch_size, seq_len = input_ids.shape
        chunk_size = self.config.chunk_size
        num_chunks = (seq_len + chunk_size - 1) // chunk_size
        temperature = 1.0 if training_mode else 0.1

        prev_action = None
        outputs = []
        routing_steps = []
        for chunk_index in range(num_chunks):
            step_start = time.time()
            start = chunk_index * chunk_size
            end = min(start + chunk_size, seq_len)
            chunk_ids = input_ids[:, start:end]

            state = self._generate_chunk_state(chunk_ids, chunk_index, prev_action, base_model)
            policy_start = time.time()
            policy_output = self.macro_policy(state, sample=training_mode, temperature=temperature)
            self.policy_times.append(time.time() - policy_start)

            # the action of the first sequence of the batch counts for all
            action = MacroAction.from_tensor(policy_output["actions"][0])
            composition_start = time.time()
            composition_result = self.composition_engine.compose_action(action, chunk_index, num_chunks)
            self.composition_times.append(time.time() - composition_start)

            if base_model is not None:
                original_weights = self.composition_engine.apply_deltas_to_model(
                    base_model, composition_result.composed_deltas
                )
                mask = attention_mask[:, start:end] if attention_mask is not None else None
                chunk_output = base_model(chunk_ids, attention_mask=mask)
                if hasattr(chunk_output, "logits"):
                    chunk_output = chunk_output.logits
                self.composition_engine.rollback_deltas(base_model, original_weights)
            else:
                # without a model there is nothing to run: the routing scores, for each token
                chunk_output = policy_output["expert_logits"].unsqueeze(1).expand(-1, end - start, -1)
            outputs.append(chunk_output)

            if prev_action is not None:
                if int(prev_action[0, 0]) != action.expert_id:
                    self.flip_count += 1
                    self.cache_miss_count += 1
                else:
                    self.cache_hit_count += 1
            prev_action = action.to_tensor(input_ids.device).unsqueeze(0).expand(batch_size, -1)
            self.step_count += 1
            self.total_routing_steps += 1
            step_time = time.time() - step_start
            self.step_times.append(step_time)
            routing_steps.append(
                RoutingStep(
                    chunk_index=chunk_index,
                    action=action,
                    state=state,
                    composition_result=composition_result,
                    execution_time=step_time,
                )
            )

        logits = torch.cat(outputs, dim=1)
        if not return_routing_info:
            return logits, None
        total_time = time.time() - start_time
        result = RoutingResult(
            steps=routing_steps,
            total_time=total_time,
            routing_stats=self._compute_routing_stats(routing_steps),
            cache_metrics=self._compute_cache_metrics(routing_steps),
            performance_metrics=self._compute_performance_metrics(routing_steps, total_time),
        )
        self.routing_history.append(result.routing_stats)
        return logits, result

    def _generate_chunk_state(
        self,
        chunk_input_ids: torch.Tensor,
        chunk_index: int,
        prev_action: Optional[MacroAction],
        base_model: Optional[nn.Module],
    ) -> MacroPolicyState:
        """The features of trace_generator.StateGenerator, without its noise. Tokens are bytes."""
        policy = self.macro_policy
        device = chunk_input_ids.device
        summary_dim = policy.chunk_proj.in_features
        third = summary_dim // 3
        summaries, values = [], []
        for row in chunk_input_ids.tolist():
            text = bytes([token % 256 for token in row]).decode("latin-1")
            scores = self.classifier.classify_chunk(text)
            summary = torch.zeros(summary_dim)
            summary[:third] = scores["code"]
            summary[third : 2 * third] = scores["formal"]
            summary[2 * third :] = scores["safety"]
            value = torch.zeros(policy.value_proj.in_features)
            value[0] = max(scores.values())
            summaries.append(summary)
            values.append(value)
        batch_size = chunk_input_ids.shape[0]
        return MacroPolicyState(
            chunk_summary=torch.stack(summaries).to(device),
            retrieval_features=torch.zeros(batch_size, policy.retrieval_proj.in_features, device=device),
            vision_features=torch.zeros(batch_size, policy.vision_proj.in_features, device=device),
            value_features=torch.stack(values).to(device),
            prev_action=prev_action,
            chunk_index=torch.full((batch_size,), chunk_index, device=device),
        )

    def _compute_routing_stats(self, routing_steps: List[RoutingStep]) -> Dict:
        experts = [step.action.expert_id for step in routing_steps]
        flips = 0
        for i in range(1, len(experts)):
            if experts[i] != experts[i - 1]:
                flips += 1
        counts = {}
        for expert_id in experts:
            counts[expert_id] = counts.get(expert_id, 0) + 1
        n = max(1, len(routing_steps))
        return {
            "num_chunks": len(routing_steps),
            "flip_rate": flips / max(1, len(experts) - 1),
            "expert_utilization": {k: v / n for k, v in counts.items()},
            "avg_span": sum(step.action.span for step in routing_steps) / n,
            "avg_rank_budget": sum(step.action.rank_budget for step in routing_steps) / n,
            "avg_bias_scale": sum(step.action.bias_scale for step in routing_steps) / n,
        }

    def _compute_cache_metrics(self, routing_steps: List[RoutingStep]) -> Dict:
        n = max(1, len(routing_steps))
        safe = sum(1 for step in routing_steps if step.composition_result.cache_safety_report["cache_safe"])
        hits = sum(1 for a, b in zip(routing_steps, routing_steps[1:]) if a.action.expert_id == b.action.expert_id)
        return {"cache_safety_rate": safe / n, "cache_hit_rate": hits / max(1, len(routing_steps) - 1)}

    def _compute_performance_metrics(self, routing_steps: List[RoutingStep], total_time: float) -> Dict:
        n = max(1, len(routing_steps))
        violations = sum(len(step.composition_result.trust_region_violations) for step in routing_steps)
        return {
            "total_time": total_time,
            "avg_step_time": sum(step.execution_time for step in routing_steps) / n,
            "trust_region_violations": violations,
        }

    def generate_routing_trace(self, input_ids: torch.Tensor, target_outputs: Optional[torch.Tensor] = None) -> Dict:
        with torch.no_grad():
            _, result = self.forward(input_ids, training_mode=True)
        states, actions, rewards = [], [], []
        for step in result.steps:
            states.append(step.state._asdict())
            actions.append(step.action.__dict__)
            rewards.append(self._compute_step_reward(step, target_outputs))
        return {"states": states, "actions": actions, "rewards": rewards, "metadata": result.routing_stats}

    def _compute_step_reward(self, step: RoutingStep, target_outputs: Optional[torch.Tensor]) -> float:
        reward = 0.0
        violations = len(step.composition_result.trust_region_violations)
        if violations == 0:
            reward += 0.1
        else:
            reward -= 0.2 * violations
        if step.composition_result.cache_safety_report["cache_safe"]:
            reward += 0.1
        else:
            reward -= 0.1
        if step.execution_time < 0.1:
            reward += 0.1 * (1.0 - step.execution_time / 0.1)
        return max(-1.0, min(1.0, reward))

    def get_routing_stats(self) -> Dict:
        n = max(1, len(self.step_times))
        return {
            "total_routing_steps": self.total_routing_steps,
            "flip_count": int(self.flip_count),
            "cache_hits": self.cache_hit_count,
            "cache_misses": self.cache_miss_count,
            "avg_step_time": sum(self.step_times) / n,
            "avg_policy_time": sum(self.policy_times) / n,
            "avg_composition_time": sum(self.composition_times) / n,
            "hysteresis": self.macro_policy.get_hysteresis_stats(),
        }

    def reset_stats(self):
        self.flip_count.zero_()
        self.step_count.zero_()
        self.routing_history = []
        self.cache_hit_count = 0
        self.cache_miss_count = 0
        self.total_routing_steps = 0
        self.step_times = []
        self.composition_times = []
        self.policy_times = []


def create_agentic_router(
    config: Dict,
    macro_policy: MacroPolicy,
    composition_engine: CompositionEngine,
    chunk_router: Optional[ChunkStickyRouter] = None,
) -> AgenticRouter:
    router_config = RouterConfig(
        chunk_size=int(config.get("chunk_size", 128)),
        num_experts=int(config.get("num_experts", 3)),
        hysteresis_tau=float(config.get("hysteresis_tau", 0.5)),
        trust_region_tau=float(config.get("trust_region_tau", 1.0)),
        max_sequence_length=int(config.get("max_sequence_length", 2048)),
        enable_routing_stats=bool(config.get("enable_routing_stats", True)),
        enable_latency_tracking=bool(config.get("enable_latency_tracking", True)),
    )
    return AgenticRouter(router_config, macro_policy, composition_engine, chunk_router)
