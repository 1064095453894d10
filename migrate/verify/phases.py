"""The channels of a trace and the phases of a step that they belong to, in the order of cause and effect."""

from __future__ import annotations

# What comes first can be the cause of what comes later and not the other way round, so the first phase that differs is
# where to look. Modes decide what is drawn, and draws decide which samples come and what dropout does to them.
PHASES = (
    "setup",
    "mode",
    "rng",
    "data",
    "forward",
    "loss",
    "backward",
    "clip",
    "hyper",
    "update",
    "buffers",
    "evaluation",
    "checkpoint",
    "end",
)

CHANNELS = {
    "names": "setup",
    "start": "setup",
    "groups": "setup",
    "data": "data",
    "inputs": "data",
    "rng": "rng",
    "mode": "mode",
    "outputs": "forward",
    "components": "loss",
    "losses": "loss",
    "norm": "backward",
    "gradients": "backward",
    "clip": "clip",
    "scaler": "clip",
    "hyper": "hyper",
    "turn": "update",
    "state": "update",
    "parameters": "update",
    "buffers": "buffers",
    "evaluations": "evaluation",
    "metrics": "evaluation",
    "checkpoints": "checkpoint",
    "checkpoint": "checkpoint",
    "order": "end",
    "steps": "end",
    "end": "end",
}

# Events of the log of a step; where two logs part, the event that only one has says which phase is concerned.
EVENT_PHASES = {
    "backward": "backward",
    "grad": "backward",
    "unscale": "clip",
    "clip": "clip",
    "skip": "update",
    "update": "update",
}

_RANKS = {phase: rank for rank, phase in enumerate(PHASES)}
_CHANNEL_RANKS = {channel: rank for rank, channel in enumerate(CHANNELS)}


def rank(phase: str, channel: str) -> tuple[int, bool, int]:
    """Return what differences within one step are sorted by: channels of a phase before others that are put into it."""
    return _RANKS[phase], CHANNELS[channel] != phase, _CHANNEL_RANKS[channel]
