"""Backbones by name: each is one file in this folder, and one line in ``BACKBONES``, ``RESNETS`` or ``VITS``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from crosscam.errors import ArgumentError
from crosscam.models.backbones.efficientnet import EfficientNetLite0
from crosscam.models.backbones.feature_map import Backbone
from crosscam.models.backbones.mobilenet import MobileNetV2
from crosscam.models.backbones.omni_scale import OSNetLCT
from crosscam.models.backbones.pretrained import load_pretrained
from crosscam.models.backbones.resnet import RESNETS, ResNet, resnet_shape
from crosscam.models.backbones.vit import VITS, VisionTransformer

# A trunk ends before the last 1x1 convolution: 320 channels in place of 1,280.
BACKBONES: dict[str, Callable[[int], Backbone]] = {
    "mobilenet-v2": MobileNetV2,
    "mobilenet-v2-trunk": partial(MobileNetV2, head=False),
    "efficientnet-lite0": EfficientNetLite0,
    "efficientnet-lite0-trunk": partial(EfficientNetLite0, head=False),
    "osnet-lct": OSNetLCT,
}


def build_backbone(name: str, last_stride: int = 1, pretrained: str | None = None) -> Backbone:
    """A backbone with random weights, or with ImageNet's.

    Args:
        name: one of ``BACKBONES``, ``VITS`` or ``RESNETS``, or a ResNet's sizes spelled out as in
            :func:`crosscam.models.backbones.resnet.resnet_shape`.
        last_stride: stride of the last stage; 1 in the paper. A vision transformer has one size throughout.
        pretrained: see :func:`crosscam.models.backbones.pretrained.load_pretrained`; None for random weights.
    Raises:
        ValueError: unknown name.
        CheckpointError: weights that do not fit.
    """
    if name in BACKBONES:
        backbone = BACKBONES[name](last_stride)
    elif name in VITS:
        backbone = VisionTransformer(VITS[name])
    else:
        shape = resnet_shape(name)
        if shape is None:
            raise ArgumentError(f"Unknown backbone {name!r}. Known: {', '.join((*RESNETS, *BACKBONES, *VITS))}.")
        backbone = ResNet(shape, last_stride)
    if pretrained is not None:
        load_pretrained(backbone, name, pretrained)
    return backbone


@cache
def num_stages(name: str, *, shared: bool = False) -> int:
    """How many stages a backbone has; with ``shared``, only those before its first block at 1/16 of the size (MGN)."""
    if name in VITS:
        return 1 + VITS[name].depth
    if name == "osnet-lct":
        return 3 if shared else 4
    if name in BACKBONES:
        return 4 if shared else 9 - name.endswith("-trunk")
    return 3 if shared else 5


def check_backbone(name: str, last_stride: int) -> None:
    """Refuse (ValueError) a recipe's ``model.backbone`` and ``model.last_stride`` that do not exist."""
    if name in VITS and last_stride != 1:
        raise ArgumentError(
            f"model.backbone: {name} has one size throughout, not a last stride of {last_stride}. Take a convolutional "
            "backbone."
        )
    if name not in BACKBONES and name not in VITS:
        try:
            known = resnet_shape(name) is not None
        except ValueError as error:
            raise ArgumentError(f"model.backbone: {error}") from error
        if not known:
            names = ", ".join((*RESNETS, *BACKBONES, *VITS))
            raise ArgumentError(f"model.backbone: Unknown backbone {name!r}. Known: {names}.")
    if last_stride not in (1, 2):
        raise ArgumentError(f"model.last_stride={last_stride}: expected from 1 to 2.")
