"""Experiment configuration: files that build on bases, resolved, validated and explained. Loads without torch."""

from bem_core.config.base_config import ExperimentConfig
from bem_core.config.config_loader import experiment_from_mapping, load_experiment_config, resolve
from bem_core.config.provenance import explain
from bem_core.config.training_config import TrainingConfig

__all__ = [
    "ExperimentConfig",
    "TrainingConfig",
    "experiment_from_mapping",
    "explain",
    "load_experiment_config",
    "resolve",
]
