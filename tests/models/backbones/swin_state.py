"""Weights and images for a small Swin transformer, the same wherever they are drawn; published names for them.

Run as a script with timm (1.0.20), torchvision (0.28) and a checkout of tinyvision/SOLIDER, it writes
``swin_maps.npz``, the maps that their networks give: ``python swin_state.py PATH/swin_transformer.py``.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from vit_state import fill

DIM, DEPTHS, HEADS = 8, (2, 2, 2, 2), (1, 2, 2, 4)
FILE = Path(__file__).with_name("swin_maps.npz")
# timm has one size. Else: odd maps before a merging, and every map larger than a window, where all agree how to shift;
# for SOLIDER its own size, which ends with a map narrower than a window.
SIZES = {"timm": (224, 224), "torchvision": (264, 232), "solider": (256, 128)}


def images(layout: str) -> Tensor:
    """(1, 3, H, W) float32."""
    return torch.from_numpy(np.random.RandomState(1).standard_normal((1, 3, *SIZES[layout]))).float()


def drawn(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a state, drawn in place."""
    weights = {k: v for k, v in state.items() if v.is_floating_point()}
    with torch.no_grad():
        fill(weights)
    return weights


def published(state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
    """A file of a layout for a network's state: its names, its layers beside, and what can be computed."""
    rename = {"solider": _solider, "timm": _timm, "torchvision": _torchvision, "microsoft": lambda name: name}[layout]
    names: dict[str, Callable[[str], str]] = {k: rename for k in state if not k.endswith("reduction.bias")}
    weights = {name(k): torch.empty_like(state[k]) for k, name in names.items()}
    if layout == "solider":
        for i in range(4):
            width = DIM * 2 ** min(i + 1, 3)
            for kind in "wb":
                weights[f"semantic_embed_{kind}.{i}.weight"] = torch.empty(width, 2)
                weights[f"semantic_embed_{kind}.{i}.bias"] = torch.empty(width)
            for kind in ("weight", "bias"):
                weights[f"norm{i}.{kind}"] = torch.empty(DIM * 2**i)
    index = {k.replace("bias_table", "index"): torch.zeros(49, 49).long() for k in weights if "bias_table" in k}
    return drawn(weights) | (index if layout != "timm" else {})


def _solider(name: str) -> str:
    pairs = ((".attn.", ".attn.w_msa."), (".mlp.fc1.", ".ffn.layers.0.0."), (".mlp.fc2.", ".ffn.layers.1."))
    for ours, theirs in (*pairs, ("patch_embed.proj.", "patch_embed.projection.")):
        name = name.replace(ours, theirs)
    return re.sub("^norm", "norm3", re.sub("^layers", "stages", name))


def _timm(name: str) -> str:
    return re.sub(r"(?<=layers\.)\d(?=\.downsample)", lambda found: str(int(found[0]) + 1), name)


def _torchvision(name: str) -> str:
    name = name.replace("patch_embed.proj.", "features.0.0.").replace("patch_embed.norm.", "features.0.2.")
    name = re.sub(r"layers\.(\d)\.blocks", lambda found: f"features.{2 * int(found[1]) + 1}", name)
    name = re.sub(r"layers\.(\d)\.downsample", lambda found: f"features.{2 * int(found[1]) + 2}", name)
    return name.replace(".mlp.fc1.", ".mlp.0.").replace(".mlp.fc2.", ".mlp.3.")


def _solider_network(file: str) -> nn.Module:
    for name in ("cv2", "mmcv", "mmcv.runner"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["mmcv.runner"].load_checkpoint = None  # type: ignore[attr-defined]
    spec = importlib.util.spec_from_file_location("solider_swin", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network: nn.Module = module.SwinTransformer(embed_dims=DIM, depths=DEPTHS, num_heads=HEADS, drop_path_rate=0.0)
    return network


@torch.no_grad()
def main() -> None:
    from timm.models.swin_transformer import SwinTransformer as Timm
    from torchvision.models.swin_transformer import SwinTransformer as Torchvision

    timm = Timm(embed_dim=DIM, depths=DEPTHS, num_heads=HEADS, num_classes=0).eval()
    drawn(timm.state_dict())
    size = {"patch_size": [4, 4], "window_size": [7, 7]}
    torchvision = Torchvision(embed_dim=DIM, depths=[*DEPTHS], num_heads=[*HEADS], **size).eval()
    drawn({k: v for k, v in torchvision.state_dict().items() if not k.startswith("head.")})
    solider = _solider_network(sys.argv[1])
    solider.train(False)
    drawn(solider.state_dict())
    # The control in words: how much semantics, and how much appearance.
    control = torch.tensor([[0.2, 0.8]])
    maps = {
        "timm": timm.forward_features(images("timm")).permute(0, 3, 1, 2),
        "torchvision": torchvision.norm(torchvision.features(images("torchvision"))).permute(0, 3, 1, 2),
        "solider": solider(images("solider"), control)[1][-1],
    }
    np.savez_compressed(FILE, **{name: found.numpy() for name, found in maps.items()})


if __name__ == "__main__":
    main()
