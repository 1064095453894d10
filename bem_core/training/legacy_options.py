"""``compat: legacy``: the options of a component's old trainer, where an experiment does not set them itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from bem_core.config import experiment_from_mapping
from bem_core.config.base_config import ExperimentConfig
from bem_core.errors import ConfigError, nearest


def with_legacy_options(config: ExperimentConfig, options: Mapping[str, Any], component: str) -> ExperimentConfig:
    """Return the experiment with old options in place of the defaults that it leaves as they are.

    Args:
        config: The experiment. A key counts as set if a file, an override or a mapping has it, or, in a configuration
            that was built in code, if its value is not the default.
        options: Values by dotted key.
        component: For the error.

    Raises:
        ConfigError: An option does not exist or its value is wrong; a mistake of the component.
    """
    if config.compat != "legacy":
        return config
    if not options:
        raise ConfigError(f"compat: {component} has no legacy options")
    data, default = config.to_dict(), ExperimentConfig().to_dict()
    for key, value in options.items():
        *sections, name = key.split(".")
        place, plain = _at(data, sections, key), _at(default, sections, key)
        if name not in place:
            raise ConfigError(f"legacy option {key!r} of {component} does not exist{nearest(name, place)}")
        written = any(one == key or one.startswith(f"{key}.") for one in config.sources)
        if not written and place[name] == plain[name]:
            place[name] = value
    made = experiment_from_mapping(data, f"legacy options of {component}")
    return dataclasses.replace(made, sources=config.sources, findings=config.findings)


def _at(data: Any, sections: list[str], key: str) -> dict[str, Any]:
    for section in sections:
        if not isinstance(data.get(section), dict):
            raise ConfigError(f"legacy option {key!r}: there is no section {section!r}{nearest(section, data)}")
        data = data[section]
    found: dict[str, Any] = data
    return found
