"""Shared infrastructure of the BEM components: training, evaluation, configuration, utilities.

Usage:
    >>> from src.bem_core import BaseConfig
    >>> BaseConfig().to_dict()
    {}
"""

from . import training
from . import evaluation
from . import config
from . import utils

try:
    from . import interfaces
except ImportError:  # never written
    interfaces = None

from .training.base_trainer import BaseTrainer
from .evaluation.base_evaluator import BaseEvaluator
from .config.base_config import BaseConfig, ExperimentConfig
from ._version import __version__

__author__ = "BEM Research Team"

__all__ = [
    "training",
    "evaluation",
    "config",
    "utils",
    "interfaces",
    "BaseTrainer",
    "BaseEvaluator",
    "BaseConfig",
    "ExperimentConfig",
]
