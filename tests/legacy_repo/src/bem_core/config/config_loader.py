"""Read experiments from YAML files and templates."""

import os
from pathlib import Path
from typing import Any, Dict, Optional, Union

import yaml

from .base_config import DataConfig, ExperimentConfig, HardwareConfig, LoggingConfig, ModelConfig
from .base_config import TrainingConfig

SECTIONS = {"model": ModelConfig, "data": DataConfig, "hardware": HardwareConfig, "logging": LoggingConfig}


class ConfigLoader:
    def __init__(self, template_dir: Optional[Union[str, Path]] = None):
        self.template_dir = Path(template_dir or os.path.join(os.path.dirname(__file__), "templates"))
        self._templates: Dict[str, Dict[str, Any]] = {}

    def load_config(self, config_path: Union[str, Path]) -> ExperimentConfig:
        path = Path(config_path)
        values = yaml.safe_load(path.read_text()) or {}
        base = values.get("base_config")
        config = self._dict_to_config(values)
        if base:
            config.inherit_from_base(self.load_config(path.parent / base))
        return config

    def load_template(self, template_name: str) -> Dict[str, Any]:
        if template_name not in self._templates:
            path = self.template_dir / f"{template_name}.yaml"
            self._templates[template_name] = yaml.safe_load(path.read_text())
        return dict(self._templates[template_name])

    def create_from_template(
        self, template_name: str, overrides: Optional[Dict[str, Any]] = None
    ) -> ExperimentConfig:
        return self._dict_to_config({**self.load_template(template_name), **(overrides or {})})

    def save_config(self, config: ExperimentConfig, output_path: Union[str, Path]) -> None:
        Path(output_path).write_text(yaml.safe_dump(config.to_dict(), sort_keys=False))

    def _dict_to_config(self, values: Dict[str, Any]) -> ExperimentConfig:
        values = dict(values)
        values.pop("training", None)  # read by load_training_config
        for name, section in SECTIONS.items():
            if isinstance(values.get(name), dict):
                values[name] = section(**values[name])
        return ExperimentConfig(**values)


_default_loader = ConfigLoader()


def load_experiment_config(config_path: Union[str, Path]) -> ExperimentConfig:
    return _default_loader.load_config(config_path)


def load_training_config(config_path: Union[str, Path]) -> TrainingConfig:
    values = yaml.safe_load(Path(config_path).read_text()) or {}
    return TrainingConfig(**values.get("training", values))


def create_config_from_template(
    template_name: str, overrides: Optional[Dict[str, Any]] = None
) -> ExperimentConfig:
    return _default_loader.create_from_template(template_name, overrides)


def save_experiment_config(config: ExperimentConfig, output_path: Union[str, Path]) -> None:
    _default_loader.save_config(config, output_path)
