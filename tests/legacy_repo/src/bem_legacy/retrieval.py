"""A retriever over a small corpus, by word overlap."""

from dataclasses import dataclass, field
from typing import List, Tuple


@dataclass
class RetrievalConfig:
    top_k: int = 4
    corpus: List[str] = field(default_factory=list)


class MicroRetriever:
    def __init__(self, config: RetrievalConfig):
        self.config = config
        self.words = [set(text.lower().split()) for text in config.corpus]

    def search(self, query: str) -> List[Tuple[float, str]]:
        wanted = set(query.lower().split())
        scores = [len(wanted & words) / max(1, len(wanted | words)) for words in self.words]
        return sorted(zip(scores, self.config.corpus), reverse=True)[: self.config.top_k]


def create_micro_retriever(corpus: List[str], top_k: int = 4) -> MicroRetriever:
    return MicroRetriever(RetrievalConfig(top_k, corpus))
