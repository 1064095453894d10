"""The variants of the performance track, and what an experiment says about the one that it trains."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from bem2.perftrack.adapter import Adapter, Pooling, Site
from bem2.perftrack.pt1_head_gating import HeadGroupGatingConfig, HeadGroupGatingModule
from bem2.perftrack.pt2_dynamic_mask import DynamicRankMaskConfig, DynamicRankMaskModule
from bem2.perftrack.pt3_kronecker import KroneckerConfig, KroneckerModule
from bem2.perftrack.pt4_residual_film import ResidualFiLMConfig, ResidualFiLMModule
from bem2.perftrack.wrapping import TargetError, attach, find_targets, sizes
from bem_core.config import ExperimentConfig, TrainingConfig, check_sections, invalid, read_sections
from bem_core.config.config_loader import InvalidConfig
from bem_core.config.schema import Positive, PositiveFloat
from bem_core.config.sections import place
from bem_core.config.training_config import ParamGroupConfig
from bem_core.errors import ConfigError, nearest

_log = logging.getLogger(__name__)
#: Section of what all variants have in common.
SECTION = "perftrack"
# A section of the template that these experiments share with those of the router.
_SHARED = ("router",)


@dataclass(frozen=True, kw_only=True)
class PerftrackConfig:
    """The section ``perftrack`` of an experiment.

    Attributes:
        targets: Patterns of the modules that get an adapter; by default those of the variant.
        pooling: What the controller of an adapter sees at a position: the mean over the positions up to it, or over
            all, which lets a causal model see what it is to predict.
        power_iterations: Iterations for the largest singular values in each training step.
        spectral_bound: Singular values of trained matrices above it are penalised.
    """

    targets: list[str] | None = None
    pooling: Pooling = "prefix"
    power_iterations: Positive = 1
    spectral_bound: PositiveFloat = 1.0


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the variants.

    Attributes:
        config: Dataclass of its settings.
        adapter: Class of its adapters.
        sections: Names of its section: the one it has, and the one that old experiments may have.
        targets: Patterns of the modules that get an adapter by default.
        unread: Keys that old experiments have in the section, and what is true of them.
        groups: Patterns of parameters, and what their learning rate is multiplied with by default.
    """

    config: type[Any]
    adapter: type[Any]
    sections: tuple[str, str]
    targets: tuple[str, ...]
    unread: Mapping[str, str]
    groups: tuple[ParamGroupConfig, ...]


def _groups(*groups: tuple[float, list[str]]) -> tuple[ParamGroupConfig, ...]:
    return tuple(ParamGroupConfig(match=patterns, lr_multiplier=rate) for rate, patterns in groups)


_NEVER_READ = "the old module never read it"
_COMMON = {
    "enabled": "variant_id says which variant is trained",
    "fro_budget": _NEVER_READ,
    "budget_tolerance": "budget.parameter_tolerance is the tolerance",
}

VARIANTS: dict[str, Variant] = {
    "PT1": Variant(
        HeadGroupGatingConfig,
        HeadGroupGatingModule,
        ("head_gating", "pt1_config"),
        ("attention.w_o",),
        _COMMON | dict.fromkeys(("heads_per_group", "use_attention_stats", "use_retrieval_quality"), _NEVER_READ),
        _groups((0.5, ["*gate_controller*"]), (1.0, ["*group_projections*"])),
    ),
    "PT2": Variant(
        DynamicRankMaskConfig,
        DynamicRankMaskModule,
        ("dynamic_rank_mask", "pt2_config"),
        ("attention.w_o", "mlp.w_down"),
        _COMMON | {"mask_learning_rate": "training.param_groups has the learning rates"},
        _groups((0.1, ["*mask*"]), (1.0, ["*.U.*", "*.V.*"])),
    ),
    "PT3": Variant(
        KroneckerConfig,
        KroneckerModule,
        ("kronecker", "pt3_config"),
        ("mlp.w_down",),
        _COMMON
        | {"attachment_site": f"{SECTION}.targets says where"}
        | dict.fromkeys(("use_fused_kernel", "block_size", "memory_efficient"), "there is one way, which is exact"),
        _groups((1.5, ["*kronecker.U"]), (1.5, ["*kronecker.V"]), (1.0, ["*output_projection*"])),
    ),
    "PT4": Variant(
        ResidualFiLMConfig,
        ResidualFiLMModule,
        ("residual_film", "pt4_config"),
        ("mlp.w_down",),
        _COMMON
        | {"minimal_overhead": "budget has the bounds"}
        | dict.fromkeys(("use_channel_wise", "use_spatial_wise"), _NEVER_READ),
        _groups((0.05, ["*controller*"]), (0.02, ["*modulation*"]), (0.01, ["*residual_scale*"])),
    ),
}


def variant_of(config: ExperimentConfig) -> Variant:
    """Return the variant that an experiment names.

    Raises:
        ConfigError: There is no such variant.
    """
    name = config.variant_id
    if name in VARIANTS:
        return VARIANTS[name]
    hint = nearest(str(name), VARIANTS) or f"; there are {', '.join(VARIANTS)}"
    found = "no variant is named" if name is None else f"unknown variant {name!r}"
    raise invalid(config, "variant_id", f"{found}{hint}")


def read_settings(config: ExperimentConfig) -> tuple[PerftrackConfig, Any, str]:
    """Return what all variants have in common, the settings of the variant, and the name of its section.

    Keys of old experiments that nothing ever read are left out, with a warning.

    Raises:
        ConfigError: Sections, keys or values are wrong; all are named.
    """
    variant = variant_of(config)
    check_sections(config, [SECTION, *variant.sections, *_SHARED])
    there = [name for name in variant.sections if name in config.components]
    if len(there) > 1:
        raise invalid(config, there[1], f"the same settings as {there[0]}; keep one of the two")
    section = there[0] if there else variant.sections[0]
    read = read_sections(_without_unread(config, section, variant), {SECTION: PerftrackConfig, section: variant.config})
    return read[SECTION], read[section], section


def _without_unread(config: ExperimentConfig, section: str, variant: Variant) -> ExperimentConfig:
    found = config.components.get(section, {})
    for key in [key for key in found if key in variant.unread]:
        dotted = f"{section}.{key}"
        _log.warning("%s: %s has no effect: %s", place(config, dotted), dotted, variant.unread[key])
    kept = {key: value for key, value in found.items() if key not in variant.unread}
    return dataclasses.replace(config, components={**config.components, section: kept})


def with_groups(config: ExperimentConfig) -> TrainingConfig:
    """Return how an experiment trains, with the groups of its variant where it names none."""
    training = config.training
    if training.param_groups or "training.param_groups" in config.sources:
        return training
    return dataclasses.replace(training, param_groups=list(variant_of(config).groups))


def adapt(model: nn.Module, config: ExperimentConfig) -> PerftrackConfig:
    """Freeze a model and give it the adapters that an experiment asks for.

    Args:
        model: Is changed.
        config: The experiment.

    Returns:
        The section ``perftrack``.

    Raises:
        ConfigError: Settings are wrong, or do not fit the model; all are named.
    """
    common, settings, section = read_settings(config)
    variant = variant_of(config)
    names = _targets(model, config, common.targets or variant.targets)
    sites = {name: _site(name, model.get_submodule(name), common) for name in names}
    _check(config, section, [variant.adapter.problems(settings, site) for site in sites.values()])
    attach(model, names, lambda name, _: _adapter(variant, settings, sites[name]))
    return common


def _adapter(variant: Variant, settings: Any, site: Site) -> Adapter:
    made: Adapter = variant.adapter(settings, site)
    return made


def _targets(model: nn.Module, config: ExperimentConfig, patterns: Sequence[str]) -> list[str]:
    try:
        return find_targets(model, patterns)
    except TargetError as error:
        key = f"{SECTION}.targets"
        written = config.components.get(SECTION, {}).get("targets")
        raise invalid(config, f"{key}.{error.index}" if written else key, str(error)) from error


def _site(name: str, module: nn.Module, common: PerftrackConfig) -> Site:
    found = sizes(module)
    if found is None:
        raise ConfigError(f"{name}: expected a linear layer")
    return Site(name, *found, pooling=common.pooling, iterations=common.power_iterations)


def _check(config: ExperimentConfig, section: str, problems: Sequence[Mapping[str, str]]) -> None:
    """Report what does not fit, each field once."""
    first = {field: message for found in reversed(problems) for field, message in found.items()}
    lines = [f"{place(config, f'{section}.{field}')}: {section}.{field}: {message}" for field, message in first.items()]
    if lines:
        raise InvalidConfig(config.name or "the configuration", lines)
