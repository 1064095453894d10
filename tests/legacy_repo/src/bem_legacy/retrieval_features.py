"""Numbers that say how good the retrieved passages are."""

from dataclasses import dataclass
from typing import Dict, List, Tuple

from .retrieval import MicroRetriever


@dataclass
class RetrievalFeaturesConfig:
    min_score: float = 0.1


class RetrievalFeatureExtractor:
    def __init__(self, retriever: MicroRetriever, config: RetrievalFeaturesConfig):
        self.retriever, self.config = retriever, config

    def extract(self, query: str) -> Dict[str, float]:
        hits: List[Tuple[float, str]] = self.retriever.search(query)
        good = [score for score, _ in hits if score >= self.config.min_score]
        return {"coverage": len(good) / max(1, len(hits)), "best": max(good, default=0.0)}


def create_retrieval_feature_extractor(retriever: MicroRetriever, **kwargs) -> RetrievalFeatureExtractor:
    return RetrievalFeatureExtractor(retriever, RetrievalFeaturesConfig(**kwargs))
