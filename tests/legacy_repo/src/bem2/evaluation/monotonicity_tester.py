"""Does a sequence of losses only fall?"""

from typing import List


class MonotonicityTester:
    def test(self, losses: List[float], tolerance: float = 0.0) -> bool:
        return all(later <= earlier + tolerance for earlier, later in zip(losses, losses[1:]))
