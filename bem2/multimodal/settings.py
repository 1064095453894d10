"""What an experiment says in the sections of this component."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from bem_core.config import ExperimentConfig, check_sections, invalid, loss_weights, read_sections
from bem_core.config.schema import Count, Momentum, NonNegative, Positive, PositiveFloat, Range

#: What ``vision.encoder`` calls the built-in vision transformer.
TINY = "tiny"
#: The terms of the loss, which ``training.loss_weights`` may weigh otherwise.
LOSS_WEIGHTS = {"answer": 1.0, "coverage": 0.1, "consistency": 0.1, "hallucination": 0.1}
Score = Annotated[float, Range(low=-1, high=1)]


@dataclass(frozen=True, kw_only=True)
class VisionSettings:
    """The vision encoder.

    Attributes:
        encoder: ``tiny``, or a folder or name on the hub of a CLIP model of `transformers`, which has its own sizes.
        image_size: Height and width that images are brought to, in pixels; 32 for ``tiny``.
        patch_size: Height and width of a patch; 8 for ``tiny``.
        dim: Width of the features; 64 for ``tiny``.
        num_layers: Layers; 2 for ``tiny``.
        num_regions: Horizontal strips that are summed up.
        freeze: Whether the encoder stays as it is; its features are then computed once.
        encode_batch_size: Images that are encoded together then.
    """

    encoder: str = TINY
    image_size: Positive | None = None
    patch_size: Positive | None = None
    dim: Positive | None = None
    num_layers: Positive | None = None
    num_regions: Positive = 4
    freeze: bool = True
    encode_batch_size: Positive = 32


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """Where the features of a question come from.

    Attributes:
        encoder: ``base_model`` takes the last hidden states of ``model.base_model``, which stays as it is; ``bytes`` a
            fixed vector for each byte and place, and needs no model.
    """

    encoder: Literal["base_model", "bytes"] = "base_model"


@dataclass(frozen=True, kw_only=True)
class ControllerSettings:
    """The controller that is trained.

    Attributes:
        dim: Width of what it works on; that of the base model, or 64 with ``text.encoder: bytes``.
        code_dim: Length of a code.
        hidden_dim: Width inside its networks; by default `dim`.
        chunk_size: Tokens of a chunk.
        max_prefix_tokens: Tokens of the prefix.
        ema_decay: Of the running mean of the codes.
        token_level: Whether there is a code for each token, which refines the one of the chunk.
        uncertainty: Whether codes are scaled by how certain the controller is.
        code_clamp_value: The greatest norm of a code.
        conflict_gating: Whether vision is turned down where it does not fit the text.
        consistency_threshold: Agreement of an image's parts, a cosine, below which vision is turned off.
        coverage_threshold: Share of an image that the encoder attends to, below which vision is turned off.
    """

    dim: Positive | None = None
    code_dim: Annotated[int, Range(low=2)] = 8
    hidden_dim: Positive | None = None
    dropout: Momentum = 0.1
    chunk_size: Positive = 32
    max_prefix_tokens: Positive = 128
    ema_decay: Momentum = 0.99
    token_level: bool = False
    uncertainty: bool = True
    code_clamp_value: PositiveFloat = 3.0
    conflict_gating: bool = True
    consistency_threshold: Score = 0.5
    coverage_threshold: Score = 0.3


@dataclass(frozen=True, kw_only=True)
class GateSettings:
    """When an answer may rely on the image, by scores of coverage and consistency from 0 to 1.

    Attributes:
        high: Consistency above which the image counts in full.
        medium: Consistency above which it counts 0.7.
        low: Consistency above which it counts 0.3.
        coverage: Coverage below which it does not count.
    """

    high: NonNegative = 0.8
    medium: NonNegative = 0.5
    low: NonNegative = 0.3
    coverage: NonNegative = 0.4


@dataclass(frozen=True, kw_only=True)
class DataParams:
    """What ``data.params`` may have.

    Attributes:
        image_dir: Folder of the images; by default that of the file with the questions.
    """

    image_dir: str | None = None


@dataclass(frozen=True, kw_only=True)
class SyntheticSettings:
    """What ``data.train`` and ``data.eval`` may have, for experiments without files.

    Attributes:
        num_samples: Questions that are made; 400 for training, 100 for evaluation.
    """

    num_samples: Count = 0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All sections of the component."""

    vision: VisionSettings
    text: TextSettings
    controller: ControllerSettings
    gate: GateSettings
    data: DataParams
    num_train: int
    num_eval: int
    loss_weights: dict[str, float]


def read_settings(config: ExperimentConfig) -> Settings:
    """Read and check the sections of the component.

    Raises:
        ConfigError: Keys or values are wrong; names them, with their places.
    """
    check_sections(config, ("vision", "text", "controller", "gate"))
    found = read_sections(
        config,
        {
            "vision": VisionSettings,
            "text": TextSettings,
            "controller": ControllerSettings,
            "gate": GateSettings,
            "data.params": DataParams,
            "data.train": SyntheticSettings,
            "data.eval": SyntheticSettings,
        },
    )
    _check_vision(config, found["vision"])
    return Settings(
        vision=found["vision"],
        text=found["text"],
        controller=found["controller"],
        gate=found["gate"],
        data=found["data.params"],
        num_train=found["data.train"].num_samples or 400,
        num_eval=found["data.eval"].num_samples or 100,
        loss_weights=loss_weights(config, LOSS_WEIGHTS),
    )


def _check_vision(config: ExperimentConfig, vision: VisionSettings) -> None:
    if vision.encoder != TINY:
        return
    size, patch = vision.image_size or 32, vision.patch_size or 8
    if size % patch:
        raise invalid(config, "vision.image_size", f"expected a multiple of vision.patch_size, {patch}, found {size}")
