"""Whether a training computes in bf16."""

from __future__ import annotations

import torch

from crosscam.recipes.recipe import Precision


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """What the setting means on a device: ``"auto"`` is bf16 where the chip has instructions for it, else fp32."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older versions of torch cannot tell; fp32 is always right.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
