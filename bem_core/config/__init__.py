"""Experiment configuration: files that build on bases, resolved, validated and explained. Loads without torch."""

from bem_core.config.base_config import ExperimentConfig
from bem_core.config.config_loader import experiment_from_mapping, load_experiment_config, resolve
from bem_core.config.provenance import explain
from bem_core.config.sections import check_sections, existing_file, invalid, loss_weights, read_section, read_sections
from bem_core.config.training_config import TrainingConfig

__all__ = [
    "ExperimentConfig",
    "TrainingConfig",
    "check_sections",
    "existing_file",
    "experiment_from_mapping",
    "explain",
    "invalid",
    "load_experiment_config",
    "loss_weights",
    "read_section",
    "read_sections",
    "resolve",
]
