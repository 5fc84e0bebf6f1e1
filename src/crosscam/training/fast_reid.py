"""ResNets with a BNNeck of the fast-reid toolkit or of the Bag of Tricks as run folders; nothing in the file is run.

Source of both: Luo et al., CVPR Workshops 2019, as :mod:`crosscam.models.baselines.bot` builds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from crosscam.data.resizing import IMAGENET_MEAN, IMAGENET_STD
from crosscam.errors import CheckpointError
from crosscam.models.backbones.pretrained import with_our_layers
from crosscam.models.baselines.bot import BoTModel
from crosscam.recipes import checkpoint
from crosscam.recipes.baseline_recipes import BOT
from crosscam.training.torchreid import COUNT, another_shape, read_toolkit, same_names, save_imported

BOTS = {
    "bot_resnet50": BoTModel(),
    "bot_resnet50_ibn": BoTModel(backbone="resnet50-ibn"),
    "bot_resnet101": BoTModel(backbone="resnet101"),
}
# The names of the two parts in fast-reid (the neck's changed with its versions) and in the Bag of Tricks' own code.
_PARTS = (
    ("backbone.", "backbone."),
    ("base.", "backbone."),
    ("heads.bottleneck.0.", "neck."),
    ("heads.bnneck.", "neck."),
    ("bottleneck.", "neck."),
)
# What only training needs, and the mean and deviation of the images, which must be ImageNet's.
_LEFT_OUT = ("heads.weight", "heads.classifier.", "classifier.", "pixel_mean", "pixel_std", "heads.cls_layer.")
_PIXELS = {"pixel_mean": IMAGENET_MEAN, "pixel_std": IMAGENET_STD}


def import_fast_reid(file: Path, family: str, folder: Path) -> None:
    """Write the run folder of a network with global average pooling and a BNNeck.

    Args:
        file: a .pth or .safetensors file: named tensors, alone or wrapped, or a whole module.
        family: of :data:`BOTS`.
        folder: the run folder to write; it must not hold a training.
    Raises:
        CheckpointError: damaged, unsafe, of another network (other pooling, attention), of images that were not
            normalized by ImageNet's mean and deviation, or the folder is taken.
    """
    checkpoint.check_free(folder, "Choose another folder.")
    settings = BOTS[family]
    model = settings.build(0, pretrained=False)
    _fill(model, file, family)
    description = f"{family} imported from {file.name}."
    save_imported(folder, replace(BOT, name=family, description=description, model=settings), model, file)


def _fill(model: nn.Module, file: Path, family: str) -> None:
    """Fill a network, built without classifier; all tensors of the file must be the network's."""
    tensors = with_our_layers(read_toolkit(file, family))
    _check_pixels(tensors, file)
    found = {_our_name(k): v for k, v in tensors.items() if not k.startswith(_LEFT_OUT) and not k.endswith(COUNT)}
    wanted = same_names(model, found, file, family)
    for name, value in found.items():
        if value.shape != wanted[name].shape:
            raise another_shape(file, family, name, value.shape, wanted[name], BOTS)
    model.load_state_dict(found, strict=False)


def _check_pixels(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Refuse images of another normalization; the file has none in later versions of fast-reid."""
    for name, expected in _PIXELS.items():
        found = [float(v) for v in tensors[name].flatten()] if name in tensors else None
        if found and not np.allclose(np.divide(found, 255), expected, atol=2e-3):
            raise CheckpointError(
                f"{file} takes images of another {name}: {', '.join(f'{v:.5g}' for v in found)}, expected ImageNet's "
                f"{', '.join(f'{255 * v:.5g}' for v in expected)}. Export it as ONNX, and give mean and std in --input."
            )


def _our_name(name: str) -> str:
    for theirs, ours in _PARTS:
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
