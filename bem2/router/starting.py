"""What a run begins with: the weights of a policy from another run, and the experts of a base model."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from bem2.router.composition_engine import CompositionEngine, ExpertBank, find_layers
from bem2.router.macro_policy import MacroPolicy
from bem2.router.settings import CompositionConfig
from bem_core.config import ExperimentConfig
from bem_core.errors import CheckpointError
from bem_core.models import load_base_model
from bem_core.training.checkpoint import load_model_part, load_tree
from bem_core.training.pickled import read_pickled
from bem_core.utils.seeding import rng_fence

#: Statistics that the old policy and the old router kept among their weights.
COUNTERS = (r"(macro_policy\.)?(action_history|hysteresis_count)", r"flip_count|step_count")
_OLD_KEYS = ("policy_state_dict", "router_state_dict")


def load_policy(policy: MacroPolicy, path: Path) -> None:
    """Load the weights of a policy.

    Args:
        policy: Gets them.
        path: A checkpoint of a run, or a file of the old trainer of either phase; nothing in that is run.

    Raises:
        CheckpointError: It is not there, damaged, or of another policy.
    """
    if path.is_dir():
        load_model_part(policy, load_tree(path, parts=["model"])["model"], path)
        return
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint (macro_policy.init_from)")
    saved = read_pickled(path)
    key = next((one for one in _OLD_KEYS if one in saved), None)
    if key is None:
        raise CheckpointError(f"{path}: expected a key {' or '.join(_OLD_KEYS)}; there are {', '.join(saved)}")
    own = {name: value for name, value in saved[key].items() if not any(re.fullmatch(one, name) for one in COUNTERS)}
    load_model_part(policy, {name.removeprefix("macro_policy."): value for name, value in own.items()}, path)


def load_engine(
    config: ExperimentConfig, composition: CompositionConfig, device: torch.device
) -> CompositionEngine | None:
    """Make experts for the base model at random, from the seed of the run; None without a section ``composition``.

    Raises:
        ConfigError: There is no such base model, or it lacks layers that are named.
    """
    if "composition" not in config.components:
        return None
    # Making a model draws from the generators that the policy is made with.
    with rng_fence():
        layers = find_layers(load_base_model(config), composition.attachment_points)
    bank = ExpertBank.random(layers, composition, config.training.seed)
    return CompositionEngine(bank, composition).to(device)
