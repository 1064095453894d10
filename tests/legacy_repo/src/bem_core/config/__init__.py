"""Configuration of experiments."""

from .base_config import BaseConfig, ExperimentConfig, TrainingConfig
from .config_loader import ConfigLoader, load_experiment_config, load_training_config
from .validators import ConfigValidator, validate_config

__all__ = [
    "BaseConfig",
    "ExperimentConfig",
    "TrainingConfig",
    "ConfigLoader",
    "load_experiment_config",
    "load_training_config",
    "ConfigValidator",
    "validate_config",
]
