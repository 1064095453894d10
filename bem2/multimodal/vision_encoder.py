"""The vision encoder: a small vision transformer, or the one of a CLIP model.

Shapes: B images, N patches, R regions, D width of the features, S pixels of a side.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bem2.multimodal.features import VisionFeatures
from bem2.multimodal.settings import TINY, VisionSettings
from bem_core.config import ExperimentConfig, invalid
from bem_core.utils.extras import import_extra


class TinyViT(nn.Module):
    """A vision transformer (Dosovitskiy et al., https://arxiv.org/abs/2010.11929, eq. 1 to 4), norms first."""

    def __init__(self, dim: int, image_size: int, patch_size: int, num_layers: int) -> None:
        super().__init__()
        num_patches = (image_size // patch_size) ** 2
        self.patch_embedding = nn.Conv2d(3, dim, kernel_size=patch_size, stride=patch_size)
        self.class_embedding = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.position_embedding = nn.Parameter(torch.randn(1, num_patches + 1, dim) * 0.02)
        self.layers = nn.ModuleList(_layer(dim) for _ in range(num_layers))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the class token and the patches ``(B, 1 + N, D)`` of images ``(B, 3, S, S)``."""
        x = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), -1, -1), x], dim=1) + self.position_embedding
        tokens: Tensor = x
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens


def _layer(dim: int) -> nn.TransformerEncoderLayer:
    heads = num_heads(dim)
    return nn.TransformerEncoderLayer(
        dim, heads, 4 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )


class VisionEncoder(nn.Module):
    """Sums the tokens of a vision transformer up: class token, mean, patches and regions.

    Args:
        backbone: Returns ``(B, 1 + N, D)`` for images.
        dim: D.
        num_regions: R.
        image_size: S.
        patch_size: Of the backbone.
    """

    def __init__(self, backbone: nn.Module, dim: int, num_regions: int, image_size: int, patch_size: int) -> None:
        super().__init__()
        self.dim, self.image_size = dim, image_size
        self.grid = image_size // patch_size
        self.clip_model = backbone
        self.region_pooler = nn.AdaptiveAvgPool2d((num_regions, 1))
        self.feature_norm = nn.LayerNorm(dim)
        hidden = max(dim // 4, 1)
        self.spatial_attention = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, 1))

    def forward(self, pixels: Tensor) -> VisionFeatures:
        """Encode images ``(B, 3, S, S)``, normalised as by `images.normalise`."""
        tokens = self.clip_model(pixels)
        cls, patches = self.feature_norm(tokens[:, 0]), tokens[:, 1:]
        pool = self.feature_norm(patches.mean(dim=1))
        regions = self._regions(patches)
        attention = torch.softmax(self.spatial_attention(patches).squeeze(-1), dim=-1)
        return VisionFeatures(cls, pool, patches, regions, normalised_entropy(attention), mean_cosine(cls, regions))

    def _regions(self, patches: Tensor) -> Tensor:
        grid = patches.transpose(1, 2).reshape(len(patches), self.dim, self.grid, self.grid)
        return self.feature_norm(self.region_pooler(grid).squeeze(-1).transpose(1, 2))  # type: ignore[no-any-return]


class ClipBackbone(nn.Module):
    """The vision model of a CLIP model of `transformers` (Radford et al., https://arxiv.org/abs/2103.00020)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        # The norm of the pooled output, which is not used.
        for name, parameter in model.named_parameters():
            if "post_layernorm" in name:
                parameter.requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the class token and the patches, ``(B, 1 + N, D)``."""
        return self.model(pixel_values=pixels).last_hidden_state  # type: ignore[no-any-return]


def normalised_entropy(weights: Tensor) -> Tensor:
    """Return the entropy of weights ``(B, N)``, each row a distribution, as a share of the greatest; ``(B,)``."""
    entropy = -(weights * torch.log(weights + 1e-8)).sum(dim=-1)
    return entropy / math.log(weights.shape[-1])


def mean_cosine(one: Tensor, several: Tensor) -> Tensor:
    """Return the mean cosine of ``(B, D)`` with the R vectors of ``(B, R, D)``; ``(B,)``."""
    return functional.cosine_similarity(one.unsqueeze(1), several, dim=-1).mean(dim=-1)


def num_heads(dim: int) -> int:
    """Return the heads of an attention of this width."""
    return 8 if dim % 8 == 0 else 1


def make_encoder(config: ExperimentConfig, settings: VisionSettings) -> VisionEncoder:
    """Return the encoder that the section ``vision`` asks for.

    Raises:
        ConfigError: There is no such model, or its sizes are not those of the section.
        MissingExtraError: It needs `transformers`.
    """
    if settings.encoder == TINY:
        size, patch, dim = settings.image_size or 32, settings.patch_size or 8, settings.dim or 64
        backbone: nn.Module = TinyViT(dim, size, patch, 2 if settings.num_layers is None else settings.num_layers)
    else:
        backbone = ClipBackbone(_load_clip(config, settings.encoder))
        size, patch, dim = _sizes(config, settings, backbone.model.config)
    if settings.num_regions > size // patch:
        expected = f"at most the {size // patch} rows of patches"
        raise invalid(config, "vision.num_regions", f"expected {expected}, found {settings.num_regions}")
    encoder = VisionEncoder(backbone, dim, settings.num_regions, size, patch)
    if settings.freeze:
        encoder.requires_grad_(False).eval()
    # What no answer depends on gets no gradient.
    encoder.spatial_attention.requires_grad_(False)
    return encoder


def _load_clip(config: ExperimentConfig, name: str) -> Any:
    kind = import_extra("transformers", "hf", f"vision.encoder: {name}").CLIPVisionModel
    local = Path(name).is_dir()
    if not local and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise invalid(config, "vision.encoder", f"there is no folder {name}")
    try:
        return kind.from_pretrained(name, local_files_only=local)
    # They come from the hub, from the files in the folder, or from what both are parsed with.
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        advice = f"name a folder with a CLIP model, or use encoder: {TINY}"
        raise invalid(config, "vision.encoder", f"{name!r} could not be loaded: {first}; {advice}") from error


def _sizes(config: ExperimentConfig, settings: VisionSettings, loaded: Any) -> tuple[int, int, int]:
    names = {
        "image_size": "image_size",
        "patch_size": "patch_size",
        "dim": "hidden_size",
        "num_layers": "num_hidden_layers",
    }
    for name, theirs in names.items():
        asked, found = getattr(settings, name), getattr(loaded, theirs)
        if asked is not None and asked != found:
            raise invalid(config, f"vision.{name}", f"expected {found}, as {settings.encoder} has, found {asked}")
    return loaded.image_size, loaded.patch_size, loaded.hidden_size
