"""
Synthetic expert traces for behaviour cloning.

Text of a domain is cut into chunks, regular expressions say what a chunk is about, and a table of preferences says what
an expert router would do with it.
"""

import json
import logging
import random
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Dict, List, Optional

import torch

from .macro_policy import MacroAction, MacroPolicyState

logger = logging.getLogger(__name__)


@dataclass
class SyntheticTrace:
    """One sequence of states, actions and rewards."""

    states: List[Dict]
    actions: List[Dict]
    rewards: List[float]
    metadata: Dict


class ContentClassifier:
    """Says how much of a chunk is code, formal reasoning or about safety."""

    def __init__(self):
        self.code_patterns = [r"\bdef\b", r"\bclass\b", r"\breturn\b", r"\bimport\b", r"\bfor\b", r"\bself\b"]
        self.formal_patterns = [r"\btheorem\b", r"\bproof\b", r"\blemma\b", r"\bhence\b", r"\bimplies\b", r"\bforall\b"]
        self.safety_patterns = [r"\bharm\b", r"\brisk\b", r"\bprivacy\b", r"\bconsent\b", r"\bdanger\b", r"\bprotect\b"]
        self.code_regex = re.compile("|".join(self.code_patterns))
        self.formal_regex = re.compile("|".join(self.formal_patterns))
        self.safety_regex = re.compile("|".join(self.safety_patterns))

    def classify_chunk(self, text: str) -> Dict[str, float]:
        text = text.lower()
        code = len(self.code_regex.findall(text))
        formal = len(self.formal_regex.findall(text))
        safety = len(self.safety_regex.findall(text))
        total = code + formal + safety
        if total == 0:
            return {"code": 1.0 / 3.0, "formal": 1.0 / 3.0, "safety": 1.0 / 3.0}
        return {"code": code / total, "formal": formal / total, "safety": safety / total}


class StateGenerator:
    """Turns a chunk of text into what the policy sees."""

    def __init__(
        self, chunk_summary_dim: int = 512, retrieval_dim: int = 64, vision_dim: int = 768, value_dim: int = 32
    ):
        self.chunk_summary_dim = chunk_summary_dim
        self.retrieval_dim = retrieval_dim
        self.vision_dim = vision_dim
        self.value_dim = value_dim

    def generate_state(
        self,
        text: str,
        chunk_index: int,
        prev_action: Optional[MacroAction] = None,
        content_scores: Optional[Dict[str, float]] = None,
    ) -> MacroPolicyState:
        if content_scores is None:
            content_scores = ContentClassifier().classify_chunk(text)

        # a third for each domain, the last one takes what is left over
        third = self.chunk_summary_dim // 3
        summary = torch.zeros(self.chunk_summary_dim)
        summary[:third] = content_scores["code"]
        summary[third : 2 * third] = content_scores["formal"]
        summary[2 * third :] = content_scores["safety"]
        summary = summary + 0.1 * torch.randn(self.chunk_summary_dim)

        retrieval = 0.1 * torch.randn(self.retrieval_dim)
        vision = torch.zeros(self.vision_dim)
        value = torch.zeros(self.value_dim)
        value[0] = max(content_scores.values())

        return MacroPolicyState(
            chunk_summary=summary.unsqueeze(0),
            retrieval_features=retrieval.unsqueeze(0),
            vision_features=vision.unsqueeze(0),
            value_features=value.unsqueeze(0),
            prev_action=prev_action.to_tensor(torch.device("cpu")).unsqueeze(0) if prev_action is not None else None,
            chunk_index=torch.tensor([chunk_index]),
        )


class ExpertPreferenceModel:
    """What an expert would do."""

    def __init__(self):
        self.expert_profiles = {
            "code": {"expert_id": 0, "scope": "local", "span": 2, "rank_budget": 32, "bias_scale": 1.0},
            "formal": {"expert_id": 1, "scope": "global", "span": 3, "rank_budget": 64, "bias_scale": 1.4},
            "safety": {"expert_id": 2, "scope": "global", "span": 1, "rank_budget": 16, "bias_scale": 0.7},
        }

    def get_optimal_action(
        self, content_scores: Dict[str, float], chunk_index: int, prev_action: Optional[MacroAction] = None
    ) -> MacroAction:
        domain = max(content_scores, key=content_scores.get)
        profile = self.expert_profiles[domain]
        span = profile["span"]
        # the same expert again: hold on to it for longer
        if prev_action is not None and prev_action.expert_id == profile["expert_id"]:
            span = span + 1
        # nothing was routed yet: decide for the whole sequence
        scope = "global" if chunk_index == 0 else profile["scope"]
        return MacroAction(
            expert_id=profile["expert_id"],
            scope=scope,
            span=span,
            rank_budget=profile["rank_budget"],
            bias_scale=profile["bias_scale"],
        )


class TraceGenerator:
    def __init__(self, chunk_size: int = 128, max_chunks_per_trace: int = 20, seed: int = 42):
        self.chunk_size = chunk_size
        self.max_chunks_per_trace = max_chunks_per_trace
        self.classifier = ContentClassifier()
        self.state_generator = StateGenerator()
        self.preference_model = ExpertPreferenceModel()
        self.sample_texts = self._load_sample_texts()
        random.seed(seed)
        torch.manual_seed(seed)

    def _load_sample_texts(self) -> Dict[str, List[str]]:
        return {
            "code": [
                "def add(self, x): return x",
                "import os for path in paths:",
                "class Tree: def walk(self):",
                "return [f(x) for x in rows]",
            ],
            "formal": [
                "theorem: forall x, p implies q",
                "proof by lemma 2, hence done",
                "hence the lemma implies it",
                "forall n the theorem holds",
            ],
            "safety": [
                "avoid harm and protect users",
                "a risk to privacy needs consent",
                "danger: ask for consent first",
                "protect privacy, name the risk",
            ],
        }

    def generate_trace(self, domain: str = None, length: int = None) -> SyntheticTrace:
        if domain is None:
            domain = random.choice(list(self.sample_texts.keys()))
        if length is None:
            length = random.randint(min(2, self.max_chunks_per_trace), self.max_chunks_per_trace)

        states, actions, rewards = [], [], []
        prev_action = None
        for chunk_index in range(length):
            if domain == "mixed":
                chunk_domain = random.choice(list(self.sample_texts.keys()))
            else:
                chunk_domain = domain
            text = ""
            while len(text) < self.chunk_size:
                text += random.choice(self.sample_texts[chunk_domain]) + " "
            text = text[: self.chunk_size]

            content_scores = self.classifier.classify_chunk(text)
            state = self.state_generator.generate_state(text, chunk_index, prev_action, content_scores)
            action = self.preference_model.get_optimal_action(content_scores, chunk_index, prev_action)
            reward = content_scores[max(content_scores, key=content_scores.get)]
            if prev_action is not None and prev_action.expert_id != action.expert_id:
                reward = reward - 0.1

            states.append(
                {
                    "chunk_summary": state.chunk_summary,
                    "retrieval_features": state.retrieval_features,
                    "vision_features": state.vision_features,
                    "value_features": state.value_features,
                    "prev_action": state.prev_action,
                    "chunk_index": state.chunk_index,
                    "content_scores": content_scores,
                }
            )
            actions.append(asdict(action))
            rewards.append(float(reward))
            prev_action = action

        return SyntheticTrace(
            states=states, actions=actions, rewards=rewards, metadata={"domain": domain, "num_chunks": length}
        )

    def generate_dataset(
        self,
        num_traces: int = 1000,
        domain_distribution: Optional[Dict[str, float]] = None,
        output_path: Optional[str] = None,
    ) -> List[SyntheticTrace]:
        if domain_distribution is None:
            domain_distribution = {"code": 0.4, "formal": 0.3, "safety": 0.2, "mixed": 0.1}
        # the experiments write Code, the texts are filed under code
        domain_distribution = {d.lower(): share for d, share in domain_distribution.items()}
        # experiments write them with a capital
        domains = [d.lower() for d in domain_distribution.keys()]
        weights = [float(w) for w in domain_distribution.values()]
        traces = []
        for i in range(num_traces):
            domain = random.choices(domains, weights=weights)[0]
            traces.append(self.generate_trace(domain))
            if (i + 1) % 1000 == 0:
                logger.info("generated %d/%d traces", i + 1, num_traces)
        if output_path:
            self._save_traces(traces, output_path)
        return traces

    def _save_traces(self, traces: List[SyntheticTrace], output_path: str):
        Path(output_path).parent.mkdir(parents=True, exist_ok=True)
        with open(output_path, "w") as f:
            for trace in traces:
                states = []
                for state in trace.states:
                    plain = {}
                    for key, value in state.items():
                        plain[key] = value.tolist() if isinstance(value, torch.Tensor) else value
                    states.append(plain)
                record = {
                    "states": states,
                    "actions": trace.actions,
                    "rewards": trace.rewards,
                    "metadata": trace.metadata,
                }
                f.write(json.dumps(record) + "\n")
        logger.info("saved %d traces to %s", len(traces), output_path)

    @staticmethod
    def load_traces(input_path: str) -> List[SyntheticTrace]:
        traces = []
        with open(input_path) as f:
            for line in f:
                if not line.strip():
                    continue
                record = json.loads(line)
                states = []
                for state in record["states"]:
                    restored = {}
                    for key, value in state.items():
                        restored[key] = torch.tensor(value) if isinstance(value, list) else value
                    states.append(restored)
                traces.append(
                    SyntheticTrace(
                        states=states,
                        actions=record["actions"],
                        rewards=record["rewards"],
                        metadata=record["metadata"],
                    )
                )
        return traces


def create_trace_generator(config: Dict) -> TraceGenerator:
    generator = TraceGenerator(
        chunk_size=int(config.get("chunk_size", 128)),
        max_chunks_per_trace=int(config.get("max_chunks_per_trace", 20)),
        seed=int(config.get("seed", 42)),
    )
    generator.state_generator = StateGenerator(
        chunk_summary_dim=int(config.get("chunk_summary_dim", 512)),
        retrieval_dim=int(config.get("retrieval_dim", 64)),
        vision_dim=int(config.get("vision_dim", 768)),
        value_dim=int(config.get("value_dim", 32)),
    )
    return generator
