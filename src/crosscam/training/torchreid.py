"""OSNet weights of the torchreid toolkit as a run folder; nothing in the file is run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from crosscam.errors import CheckpointError
from crosscam.models.backbones.pretrained import read_weights
from crosscam.models.baselines.osnet import Norm, OSNet, OSNetModel
from crosscam.models.torch_files import read_tensors, refuse_quantized
from crosscam.recipes import checkpoint
from crosscam.recipes.baseline_recipes import OSNET
from crosscam.recipes.recipe import Recipe
from crosscam.system.locks import only_writer
from crosscam.training.provenance import check_numbers, versions

# The toolkit's names of the networks.
OSNETS = {
    "osnet_x1_0": OSNetModel(),
    "osnet_x0_75": OSNetModel(width=0.75),
    "osnet_x0_5": OSNetModel(width=0.5),
    "osnet_x0_25": OSNetModel(width=0.25),
    "osnet_ibn_x1_0": OSNetModel(norm="ibn"),
    "osnet_ain_x1_0": OSNetModel(norm="ain"),
    "osnet_ain_x0_75": OSNetModel(width=0.75, norm="ain"),
    "osnet_ain_x0_5": OSNetModel(width=0.5, norm="ain"),
    "osnet_ain_x0_25": OSNetModel(width=0.25, norm="ain"),
}
# What only training needs.
_LEFT_OUT = ("classifier.",)
COUNT = "num_batches_tracked"
_IN_BLOCK = (
    (r"^conv1\.conv\.", "narrow.0."),
    (r"^conv1\.bn\.", "narrow.1."),
    (r"^conv2a\.(?=[cb])", "streams.0.0."),
    (r"^conv2b\.", "streams.1."),
    (r"^conv2c\.", "streams.2."),
    (r"^conv2d\.", "streams.3."),
    (r"^conv2\.(\d)\.layers\.", r"streams.\1."),
    (r"(streams\.\d\.\d\.)conv1\.", r"\g<1>0."),
    (r"(streams\.\d\.\d\.)conv2\.", r"\g<1>1."),
    (r"(streams\.\d\.\d\.)bn\.", r"\g<1>2."),
    (r"^gate\.fc1\.", "gate.weigh.0."),
    (r"^gate\.fc2\.", "gate.weigh.2."),
    (r"^conv3\.conv\.", "expand.0."),
    (r"^conv3\.bn\.", "expand.1."),
    (r"^downsample\.conv\.", "skip.0."),
    (r"^downsample\.bn\.", "skip.1."),
)
# Where a block's instance normalization stands.
_INSTANCE: dict[Norm, str] = {"batch": "IN.", "ibn": "after.", "ain": "expand.1."}
# Layers before the first stage, and layers of a stage: two blocks, a convolution and pooling.
_BEFORE, _EACH = 2, 4


def import_torchreid(file: Path, family: str, folder: Path) -> None:
    """Write the run folder of a torchreid OSNet.

    Args:
        file: a .pth or .safetensors file: named tensors, alone or wrapped, or a whole module.
        family: of :data:`OSNETS`.
        folder: the run folder to write; it must not hold a training.
    Raises:
        CheckpointError: damaged, unsafe, of another network, or the folder is taken.
    """
    checkpoint.check_free(folder, "Choose another folder.")
    settings = OSNETS[family]
    model = settings.build(0)
    read_osnet(model, file, family)
    description = f"{family} imported from torchreid's {file.name}."
    save_imported(folder, replace(OSNET, name=family, description=description, model=settings), model, file)


def save_imported(folder: Path, recipe: Recipe, model: nn.Module, file: Path) -> None:
    """Write the run folder of a network that was read from ``file``.

    CheckpointError: the folder holds a training, or a number of the weights is not finite.
    """
    check_numbers(model, file)
    with only_writer(folder, folder=True):
        checkpoint.check_free(folder, "Choose another folder.")
        checkpoint.save_recipe(folder, recipe)
        checkpoint.save_weights(folder, model.state_dict())
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        checkpoint.save_provenance(folder, {"imported_from": file.name, "sha256": digest, "versions": versions()})


def read_toolkit(file: Path, family: str) -> dict[str, Tensor]:
    """The named tensors of another toolkit's file, without the ``module.`` of several GPUs.

    Raises:
        CheckpointError: no such file, damaged, unsafe, or without named tensors.
    """
    if not file.is_file():
        raise CheckpointError(f"No file {file}. Give a .pth or .safetensors file of {family}.")
    try:
        found = read_weights(file, f"a .pth file of {family}")
    except CheckpointError as error:
        # A whole module, or a training's file with values of NumPy (torchreid's rank-1), which torch refuses.
        try:
            found = {name: torch.from_numpy(np.array(value)) for name, value in read_tensors(file).items()}
        except CheckpointError:
            raise error from None
    return {name.removeprefix("module."): value for name, value in found.items()}


def read_osnet(model: OSNet, file: Path, family: str) -> None:
    """Fill a network, built without classifier, with the weights of a torchreid file.

    Raises:
        CheckpointError: damaged, unsafe, or of another network.
    """
    tensors = read_toolkit(file, family)
    norm = OSNETS[family].norm
    found = {our_name(name, norm): value for name, value in tensors.items() if not name.startswith(_LEFT_OUT)}
    found = {name: value for name, value in found.items() if not name.endswith(COUNT)}
    wanted = same_names(model, found, file, family)
    for name, value in found.items():
        if value.numel() != wanted[name].numel():
            raise another_shape(file, family, name, value.shape, wanted[name], OSNETS)
        tensor = value.T if name == "unit.linear.weight" else value
        wanted[name] = tensor.reshape(wanted[name].shape).to(wanted[name].dtype)
    model.load_state_dict(wanted, strict=False)


def same_names(model: nn.Module, found: Mapping[str, Tensor], file: Path, family: str) -> dict[str, Tensor]:
    """The weights of a network; CheckpointError if those found in a file, by its names, are others, or quantized."""
    wanted = {name: value for name, value in model.state_dict().items() if not name.endswith(COUNT)}
    wrong = sorted(wanted.keys() ^ set(found))
    if wrong:
        what = "lacks" if wrong[0] in wanted else "has, beyond it,"
        raise CheckpointError(f"{file} is not {family}: it {what} {wrong[0]} ({len(wrong)} such). Check --family.")
    refuse_quantized(found, wanted, file)
    return wanted


def another_shape(
    file: Path, family: str, name: str, shape: Sequence[int], wanted: Tensor, families: Iterable[str]
) -> CheckpointError:
    """The error for weights of another shape than the family's."""
    return CheckpointError(
        f"{file} is not {family}: {name} has shape {tuple(shape)}, expected {tuple(wanted.shape)}. Check --family; "
        f"known: {', '.join(families)}."
    )


def our_name(name: str, norm: Norm = "batch") -> str:
    """The name that a tensor of torchreid's OSNet has here; a name of another network stays what it is."""
    name = re.sub(r"^pool([23])\.0\.", r"conv\1.2.0.", name) if norm == "ain" else name
    for theirs, ours in (("conv1.", "backbone.0."), ("conv5.", f"backbone.{_BEFORE + 2 * _EACH + 2}.")):
        if name.startswith(theirs):
            return ours + _unit(name.removeprefix(theirs))
    if name.startswith("fc."):
        return name.replace("fc.0.", "unit.linear.", 1).replace("fc.1.", "unit.norm.", 1)
    found = re.match(r"conv([234])\.([012])\.(.*)", name)
    if found is None:
        return name
    stage, place, rest = int(found[1]) - 2, int(found[2]), found[3]
    at = f"backbone.{_BEFORE + stage * _EACH + place}."
    if place == 2:
        return at + _unit(rest.removeprefix("0."))
    for theirs, ours in (*_IN_BLOCK, (r"^IN\.", _INSTANCE[norm])):
        rest = re.sub(theirs, ours, rest)
    return at + rest


def _unit(rest: str) -> str:
    return re.sub(r"^bn\.", "1.", re.sub(r"^conv\.", "0.", rest))
