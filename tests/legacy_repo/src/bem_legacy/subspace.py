"""Who owns which dimensions."""

from collections import defaultdict
from typing import Dict, List, Optional, Tuple


class SubspacePlanner:
    def __init__(self, total_dim: int):
        self.total_dim, self.next_free = total_dim, 0
        self.allocations: Dict[str, Tuple[int, int]] = {}

    def allocate_subspace(self, bem_id: str, dim: int) -> Tuple[int, int]:
        if self.next_free + dim > self.total_dim:
            raise ValueError(f"no {dim} dimensions left for {bem_id}")
        self.allocations[bem_id] = (self.next_free, self.next_free + dim)
        self.next_free += dim
        return self.allocations[bem_id]

    def get_allocation(self, bem_id: str) -> Optional[Tuple[int, int]]:
        return self.allocations.get(bem_id)


class CapacityManager:
    def __init__(self):
        self.utilization: Dict[str, List[float]] = defaultdict(list)
        self.performance: Dict[str, List[float]] = defaultdict(list)

    def record_utilization(self, bem_id: str, value: float) -> None:
        self.utilization[bem_id].append(value)

    def record_performance(self, bem_id: str, value: float) -> None:
        self.performance[bem_id].append(value)

    def get_performance_stats(self, bem_id: str) -> Dict[str, float]:
        values = self.performance[bem_id]
        return {"mean": sum(values) / len(values), "count": len(values)}


def create_subspace_planner(total_dim: int) -> SubspacePlanner:
    return SubspacePlanner(total_dim)
