"""The scorer behind a session."""

from .constitutional_scorer import ConstitutionalPrinciple, ConstitutionalScorer, ValueModelConfig


class SecureConstitutionalScorer:
    def __init__(self, config: ValueModelConfig):
        self.scorer = ConstitutionalScorer(config)


def create_secure_constitutional_scorer(**kwargs) -> SecureConstitutionalScorer:
    return SecureConstitutionalScorer(ValueModelConfig(**kwargs))
