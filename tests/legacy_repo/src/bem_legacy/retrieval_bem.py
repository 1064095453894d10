"""Phase 3: routing with retrieval features as side signals."""

from dataclasses import dataclass, field

from .hierarchical_bem import HierarchicalBEMConfig, HierarchicalBEMModule, create_hierarchical_bem
from .retrieval import RetrievalConfig, create_micro_retriever
from .retrieval_features import create_retrieval_feature_extractor


@dataclass
class RetrievalBEMConfig:
    hierarchical: HierarchicalBEMConfig = field(default_factory=HierarchicalBEMConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)


class RetrievalAwareBEMModule:
    def __init__(self, module: HierarchicalBEMModule, config: RetrievalBEMConfig):
        self.module, self.config = module, config
        self.features = create_retrieval_feature_extractor(create_micro_retriever(config.retrieval.corpus))

    def run(self, x, query: str):
        return self.module(x), self.features.extract(query)


FullRetrievalAwareBEM = RetrievalAwareBEMModule


def create_retrieval_aware_bem(base_layer, config: RetrievalBEMConfig) -> RetrievalAwareBEMModule:
    return RetrievalAwareBEMModule(create_hierarchical_bem(base_layer, config.hierarchical), config)
