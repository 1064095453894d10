#!/usr/bin/env python3
"""Reports on routing decisions, typed without importing torch.

>>> from bem.retrieval import create_micro_retriever
>>> create_micro_retriever(["a b", "c d"], top_k=1).search("c")
[(0.5, 'c d')]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Optional

if TYPE_CHECKING:
    from bem.controller import HierarchicalController
    import bem.controller
    from src.bem2.router.agentic_router import RoutingResult


def flip_rate(result: "RoutingResult") -> float:
    return result.routing_stats["flip_rate"]


def widths(controllers: List["bem.controller.HierarchicalController"]) -> "Optional[HierarchicalController]":
    return controllers[0] if controllers else None


def local_names_stay():
    bem = {"controller": 1}
    training = bem["controller"]

    def bem2(value):
        return value + training

    return bem2(1)


if __name__ == "__main__":
    import doctest

    doctest.testmod()
