"""Weights of CLIP's image tower, by timm's names.

Source of the names: OpenAI's CLIP, open_clip and CLIP-ReID; Radford et al., ICML 2021.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

# In this order: the later ones are parts of the earlier ones.
_RENAMED = (
    ("conv1.", "patch_embed.proj."),
    ("transformer.resblocks.", "blocks."),
    ("ln_pre.", "norm_pre."),
    ("ln_post.", "norm."),
    (".ln_", ".norm"),
    (".attn.in_proj_", ".attn.qkv."),
    (".attn.out_proj.", ".attn.proj."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
)


def clip_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image tower of a CLIP file by timm's names, in single precision; a file that has these stays as it is.

    The tower is found by its ``class_embedding``, whatever stands before the names (``visual.``, ``image_encoder.``).
    """
    fronts = [name.removesuffix("class_embedding") for name in state if name.endswith("class_embedding")]
    if not fronts:
        return dict(state)
    found: dict[str, Tensor] = {}
    for name in (n for n in state if n.startswith(fronts[0])):
        tensor, short = state[name].float(), name.removeprefix(fronts[0])
        if short == "class_embedding":
            found["cls_token"] = tensor[None, None]
        elif short == "positional_embedding":
            found["pos_embed"] = tensor[None]
        else:
            for theirs, ours in _RENAMED:
                short = short.replace(theirs, ours)
            found[short] = tensor
    return found
