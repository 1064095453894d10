"""Does one BEM disturb another?"""

from dataclasses import dataclass
from typing import Dict


@dataclass
class BEMConfiguration:
    bem_id: str
    scale: float = 1.0


class InterferenceTester:
    def __init__(self, tolerance: float = 0.02):
        self.tolerance = tolerance

    def compare(self, alone: Dict[str, float], together: Dict[str, float]) -> Dict[str, bool]:
        return {task: abs(alone[task] - together[task]) <= self.tolerance for task in alone}
