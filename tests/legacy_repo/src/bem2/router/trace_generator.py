"""Synthetic traces of a router that always knows the right expert."""

import json
import logging
import random
from dataclasses import asdict, dataclass
from typing import Dict, List, Optional

import torch

from .macro_policy import MacroAction, MacroPolicyState

logger = logging.getLogger(__name__)

KEYWORDS = {
    "code": ("def", "class", "return", "import"),
    "formal": ("proof", "lemma", "therefore", "theorem"),
    "safety": ("risk", "harm", "privacy", "policy"),
}


@dataclass
class SyntheticTrace:
    states: List[Dict]
    actions: List[Dict]
    rewards: List[float]
    metadata: Dict


class ContentClassifier:
    def classify_chunk(self, text: str) -> Dict[str, float]:
        words = text.lower().split()
        counts = {domain: sum(word in keys for word in words) + 1e-3 for domain, keys in KEYWORDS.items()}
        total = sum(counts.values())
        return {domain: count / total for domain, count in counts.items()}


class StateGenerator:
    def __init__(
        self, chunk_summary_dim: int = 512, retrieval_dim: int = 64, vision_dim: int = 768, value_dim: int = 32
    ):
        self.dims = (chunk_summary_dim, retrieval_dim, vision_dim, value_dim)

    def generate_state(
        self,
        text: str,
        chunk_index: int,
        prev_action: Optional[MacroAction] = None,
        content_scores: Optional[Dict[str, float]] = None,
    ) -> MacroPolicyState:
        scores = torch.tensor(list((content_scores or ContentClassifier().classify_chunk(text)).values()))
        summary = scores.repeat(-(-self.dims[0] // len(scores)))[: self.dims[0]]
        previous = prev_action.to_tensor(torch.device("cpu")) if prev_action else torch.zeros(5)
        rest = (torch.randn(self.dims[1]), torch.zeros(self.dims[2]), torch.randn(self.dims[3]))
        return MacroPolicyState(summary, *rest, previous, torch.tensor(chunk_index))


class ExpertPreferenceModel:
    def get_optimal_action(
        self, content_scores: Dict[str, float], chunk_index: int, prev_action: Optional[MacroAction] = None
    ) -> MacroAction:
        order = list(KEYWORDS)
        best = max(order, key=content_scores.__getitem__)
        return MacroAction(order.index(best), "global" if chunk_index == 0 else "local", 1 + chunk_index % 4, 16, 1.0)


class TraceGenerator:
    def __init__(self, chunk_size: int = 128, max_chunks_per_trace: int = 20, seed: int = 42):
        self.chunk_size, self.max_chunks_per_trace = chunk_size, max_chunks_per_trace
        self.classifier, self.states, self.preferences = ContentClassifier(), StateGenerator(), ExpertPreferenceModel()
        random.seed(seed)
        torch.manual_seed(seed)

    def generate_trace(self, domain: str = None, length: int = None) -> SyntheticTrace:
        trace = SyntheticTrace([], [], [], {"domain": domain})
        previous = None
        for index in range(length or random.randint(2, self.max_chunks_per_trace)):
            words = KEYWORDS[domain or random.choice(list(KEYWORDS))]
            text = " ".join(random.choices(words, k=self.chunk_size))
            scores = self.classifier.classify_chunk(text)
            action = self.preferences.get_optimal_action(scores, index, previous)
            state = self.states.generate_state(text, index, previous, scores)
            trace.states.append({name: value.tolist() for name, value in state._asdict().items()})
            trace.actions.append(asdict(action))
            trace.rewards.append(max(scores.values()))
            previous = action
        return trace

    def generate_dataset(
        self,
        num_traces: int = 1000,
        domain_distribution: Optional[Dict[str, float]] = None,
        output_path: Optional[str] = None,
    ) -> List[SyntheticTrace]:
        weights = domain_distribution or dict.fromkeys(KEYWORDS, 1.0)
        domains = random.choices(list(weights), weights=list(weights.values()), k=num_traces)
        traces = [self.generate_trace(domain, 4) for domain in domains]
        if output_path:
            with open(output_path, "w") as f:
                json.dump([asdict(trace) for trace in traces], f)
        return traces

    @staticmethod
    def load_traces(input_path: str) -> List[SyntheticTrace]:
        with open(input_path) as f:
            return [SyntheticTrace(**values) for values in json.load(f)]


def create_trace_generator(config: Dict) -> TraceGenerator:
    return TraceGenerator(**config)
