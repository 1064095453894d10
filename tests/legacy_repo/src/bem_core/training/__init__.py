"""Training infrastructure."""

from .base_trainer import BaseTrainer, TrainingConfig
from .config_loader import ConfigLoader, load_experiment_config
from .training_utils import (
    setup_model,
    setup_optimizer,
    setup_scheduler,
    compute_gradient_norm,
    apply_gradient_clipping,
)

try:
    from .experiment_runner import ExperimentRunner
except ImportError:
    ExperimentRunner = None

__all__ = [
    "BaseTrainer",
    "TrainingConfig",
    "ConfigLoader",
    "load_experiment_config",
    "ExperimentRunner",
    "setup_model",
    "setup_optimizer",
    "setup_scheduler",
    "compute_gradient_norm",
    "apply_gradient_clipping",
]
