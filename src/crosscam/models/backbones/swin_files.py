"""Weights of Swin transformers by Microsoft's names: from files of SOLIDER, mmdetection, timm and torchvision.

Sources: Chen et al., "Beyond appearance: a semantic controllable self-supervised learning framework for human-centric
visual tasks", CVPR 2023 (SOLIDER), section 3.3; the names and layouts in
tinyvision/SOLIDER and tinyvision/SOLIDER-REID on GitHub.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import softplus

from crosscam.errors import CheckpointError

# How much SOLIDER's features tell of what is where; the rest is appearance. What SOLIDER-REID trains and tests with.
SEMANTIC_WEIGHT = 0.2

_MMDET = (
    (r"^stages\.", "layers."),
    (r"\.attn\.w_msa\.", ".attn."),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
    (r"^patch_embed\.projection\.", "patch_embed.proj."),
    (r"^norm3\.", "norm."),
)
_TORCHVISION = (
    (r"^features\.0\.0\.", "patch_embed.proj."),
    (r"^features\.0\.2\.", "patch_embed.norm."),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.3\.", ".mlp.fc2."),
    # Stages and mergings of patches in turns.
    *((rf"^features\.{2 * i + 1}\.", f"layers.{i}.blocks.") for i in range(4)),
    *((rf"^features\.{2 * i + 2}\.", f"layers.{i}.downsample.") for i in range(3)),
)


def swin_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's Swin transformer by Microsoft's names; what can be computed (offsets, masks) is left out.

    It is found by the attention of its first block, whatever stands before the names (``backbone.``, ``base.``).
    SOLIDER's semantic control, with a weight of 0.2, becomes part of the mergings of patches.

    Raises:
        CheckpointError: semantic layers that do not fit.
    """
    weights = {k: v for k, v in state.items() if not k.endswith((".relative_position_index", ".attn_mask"))}
    if (found := _part(weights, "stages.0.blocks.0.attn.w_msa.qkv.weight")) is not None:
        # Norms of the maps of earlier stages, which detectors take.
        kept = {k: v for k, v in found.items() if not re.match(r"norm[0-2]\.", k)}
        return _with_semantics({k: _unfolded(k, v) for k, v in _renamed(kept, _MMDET).items()})
    if (found := _part(weights, "features.1.0.attn.qkv.weight")) is not None:
        return _renamed(found, _TORCHVISION)
    found = _part(weights, "layers.0.blocks.0.attn.qkv.weight")
    if found is None or any(k.startswith("layers.0.downsample.") for k in found):
        return weights
    # timm from 0.9 on merges patches at the start of the next stage.
    return {
        re.sub(r"^layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", k): found[k] for k in found
    }


def _part(state: Mapping[str, Tensor], mark: str) -> dict[str, Tensor] | None:
    """The tensors beside the one whose name ends with ``mark``, without what stands before their names."""
    front = next((k.removesuffix(mark) for k in state if k == mark or k.endswith(f".{mark}")), None)
    return None if front is None else {k.removeprefix(front): v for k, v in state.items() if k.startswith(front)}


def _renamed(state: Mapping[str, Tensor], names: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for theirs, ours in names:
            name = re.sub(theirs, ours, name)
        found[name] = tensor
    return found


def _unfolded(name: str, tensor: Tensor) -> Tensor:
    """Weights of a merging of patches in Microsoft's order: by column, row, channel; mmdetection's is the reverse."""
    if ".downsample." not in name or not tensor.dim() or tensor.shape[-1] % 4:
        return tensor
    return tensor.reshape(*tensor.shape[:-1], -1, 2, 2).transpose(-3, -1).flatten(-3)


def _with_semantics(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """SOLIDER's semantic control as part of the layer before it: x softplus(w(weight)) + b(weight) after a merging.

    That of the last stage is left out: SOLIDER takes the map before it.
    """
    control = torch.tensor([SEMANTIC_WEIGHT, 1 - SEMANTIC_WEIGHT])
    layers = {k: state.pop(k).float() for k in list(state) if k.startswith("semantic_embed_")}
    for i in range(3 if layers else 0):
        reduction = f"layers.{i}.downsample.reduction"
        try:
            scale, shift = (
                layers[f"semantic_embed_{kind}.{i}.weight"] @ control + layers[f"semantic_embed_{kind}.{i}.bias"]
                for kind in "wb"
            )
            state[f"{reduction}.weight"] = state[f"{reduction}.weight"] * softplus(scale)[:, None]
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"semantic_embed_w.{i} and semantic_embed_b.{i} do not fit stage {i} of the network ({error}). "
                "Give SOLIDER's file as it is published."
            ) from error
        state[f"{reduction}.bias"] = shift
    return state
