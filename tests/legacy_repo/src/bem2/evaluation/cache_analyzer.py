"""How often two neighbouring chunks share an expert."""

from typing import Dict, List


class CacheAnalyzer:
    def analyze(self, expert_ids: List[int]) -> Dict[str, float]:
        pairs = list(zip(expert_ids, expert_ids[1:]))
        hits = sum(a == b for a, b in pairs)
        return {"hit_rate": hits / len(pairs) if pairs else 1.0, "flips": float(len(pairs) - hits)}
