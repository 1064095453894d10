"""Block an update that makes canary prompts worse."""


class CanaryGate:
    def __init__(self, max_drop: float = 0.02):
        self.max_drop = max_drop

    def allows(self, before: float, after: float) -> bool:
        return after >= before - self.max_drop


def create_default_canary_gate() -> CanaryGate:
    return CanaryGate()
