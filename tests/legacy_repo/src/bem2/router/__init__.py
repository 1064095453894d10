"""Agentic router: a policy that picks an expert for every chunk."""

from .macro_policy import MacroPolicy, MacroAction
from .trace_generator import TraceGenerator
from .agentic_router import AgenticRouter
from .composition_engine import CompositionEngine
from .training import BCTrainer, PGTrainer

__all__ = [
    "MacroPolicy",
    "MacroAction",
    "TraceGenerator",
    "AgenticRouter",
    "CompositionEngine",
    "BCTrainer",
    "PGTrainer",
]
