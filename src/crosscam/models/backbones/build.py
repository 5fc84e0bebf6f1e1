"""Backbones by name: each is one file in this folder, a line in ``BACKBONES``, ``RESNETS``, ``VITS`` or ``SWINS``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from crosscam.errors import ArgumentError
from crosscam.models.backbones.efficientnet import EfficientNetLite0
from crosscam.models.backbones.feature_map import Backbone
from crosscam.models.backbones.mobilenet import MobileNetV2
from crosscam.models.backbones.omni_scale import HALF_CHANNELS, OSNetLCT
from crosscam.models.backbones.pretrained import load_pretrained
from crosscam.models.backbones.resnet import RESNETS, ResNet, resnet_shape
from crosscam.models.backbones.swin import SWIN_STAGES, SWINS, SwinTransformer
from crosscam.models.backbones.vit import VITS, VisionTransformer

# A trunk ends before the last 1x1 convolution: 320 channels in place of 1,280.
BACKBONES: dict[str, Callable[[int], Backbone]] = {
    "mobilenet-v2": MobileNetV2,
    "mobilenet-v2-trunk": partial(MobileNetV2, head=False),
    "efficientnet-lite0": EfficientNetLite0,
    "efficientnet-lite0-trunk": partial(EfficientNetLite0, head=False),
    "osnet-lct": OSNetLCT,
    "osnet-lct-x0.5": partial(OSNetLCT, channels=HALF_CHANNELS),
}


def build_backbone(name: str, last_stride: int = 1, pretrained: str | None = None) -> Backbone:
    """A backbone with random weights, or with ImageNet's.

    Args:
        name: one of ``BACKBONES``, ``VITS``, ``SWINS`` or ``RESNETS``, or a ResNet's sizes spelled out as in
            :func:`crosscam.models.backbones.resnet.resnet_shape`.
        last_stride: stride of the last stage; 1 in the paper. A vision transformer has one size throughout, and a
            Swin transformer always the map of a last stride of 2.
        pretrained: see :func:`crosscam.models.backbones.pretrained.load_pretrained`; None for random weights.
    Raises:
        ValueError: unknown name.
        CheckpointError: weights that do not fit.
    """
    if name in BACKBONES:
        backbone = BACKBONES[name](last_stride)
    elif name in VITS:
        backbone = VisionTransformer(VITS[name])
    elif name in SWINS:
        backbone = SwinTransformer(SWINS[name])
    else:
        shape = resnet_shape(name)
        if shape is None:
            raise ArgumentError(f"Unknown backbone {name!r}. Known: {_known()}.")
        backbone = ResNet(shape, last_stride)
    if pretrained is not None:
        load_pretrained(backbone, name, pretrained)
    return backbone


@cache
def num_stages(name: str, *, shared: bool = False) -> int:
    """How many stages a backbone has; with ``shared``, only those before its first block at 1/16 of the size (MGN)."""
    if name in VITS:
        return 1 + VITS[name].depth
    if name in SWINS:
        return SWIN_STAGES
    if name.startswith("osnet-lct"):
        return 3 if shared else 4
    if name in BACKBONES:
        return 4 if shared else 9 - name.endswith("-trunk")
    return 3 if shared else 5


def _known() -> str:
    return ", ".join((*RESNETS, *BACKBONES, *VITS, *SWINS))


def check_backbone(name: str, last_stride: int, *, parted: bool = False) -> None:
    """Refuse (ValueError) a recipe's ``model.backbone`` and ``model.last_stride`` that do not exist.

    With ``parted``, also a backbone that cannot be parted into branches.
    """
    if name in VITS and last_stride != 1:
        raise ArgumentError(
            f"model.backbone: {name} has one size throughout, not a last stride of {last_stride}. Take a convolutional "
            "backbone."
        )
    if name in SWINS and parted:
        raise ArgumentError(f"model.backbone: {name} cannot be parted into branches. Take a convolutional backbone.")
    if name in SWINS and last_stride != 2:
        raise ArgumentError(
            f"model.backbone: {name} gives a map of 1/32 of the image's size, not that of model.last_stride="
            f"{last_stride}. Set model.last_stride=2."
        )
    if name not in BACKBONES and name not in VITS and name not in SWINS:
        try:
            known = resnet_shape(name) is not None
        except ValueError as error:
            raise ArgumentError(f"model.backbone: {error}") from error
        if not known:
            raise ArgumentError(f"model.backbone: Unknown backbone {name!r}. Known: {_known()}.")
    if last_stride not in (1, 2):
        raise ArgumentError(f"model.last_stride={last_stride}: expected from 1 to 2.")
