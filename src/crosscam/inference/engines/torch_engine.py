"""PyTorch as an engine: batch normalizations fused away, channels_last, bf16 where the chip has it."""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.fusion import fuse_conv_bn_eval

from crosscam.errors import EngineError
from crosscam.inference.engines.base import Descriptors, Pixels
from crosscam.inference.engines.graph import RowsToDescriptors
from crosscam.models.stripes import PartLinear, PartUnits
from crosscam.system.cores import keep_freed_memory


class TorchEngine:
    """A network on the CPU or a GPU.

    Args:
        model: left as it is; the engine works on a copy.
        size: height and width that the model takes.
        flip: whether the mirror image counts.
        device: ``"cpu"``, ``"cuda"``, ...
        bf16: whether weights and feature maps are bf16; descriptors are normalized in float32 in any case.
        compiled: whether torch.compile makes code of its own for the network; the first batches are slow.
        name: how the engine is called.
    """

    def __init__(
        self,
        model: nn.Module,
        size: tuple[int, int],
        *,
        flip: bool,
        device: str = "cpu",
        bf16: bool = False,
        compiled: bool = False,
        name: str = "torch",
    ) -> None:
        self.name = name
        self.device = torch.device(device)
        copied = fused(model.eval(), size).to(self.device, torch.bfloat16 if bf16 else None)
        copied = copied.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network = RowsToDescriptors(copied, flip=flip).to(self.device)
        self._run = torch.compile(network, dynamic=True) if compiled else network
        if self.device.type == "cpu":
            keep_freed_memory()

    def __call__(self, pixels: Pixels) -> Descriptors:
        """See :class:`crosscam.inference.engines.base.Engine`."""
        if not len(pixels):
            return self(np.zeros((1, *pixels.shape[1:]), np.uint8))[:0]
        with torch.inference_mode():
            try:
                found: Tensor = self._run(torch.from_numpy(pixels).to(self.device))
            except torch._dynamo.exc.TorchDynamoException as error:
                raise EngineError(
                    f"torch.compile does not work here ({type(error).__name__}); it needs a C++ compiler. "
                    "Take engine 'torch'."
                ) from error
        return found.float().cpu().numpy()


def fused(model: nn.Module, size: tuple[int, int]) -> nn.Module:
    """A copy in which each batch normalization is part of the convolution, or the layers of parts, that it follows.

    Which convolution that is, is read from the order in which a module holds its children; an image of noise then
    tells whether the copy still gives what the model gives, and if not, the copy is unfused.
    """
    copied = copy.deepcopy(model)
    if _fuse_children(copied) and not _same_on_noise(model, copied, size):
        return copy.deepcopy(model)
    return copied


def _fuse_children(module: nn.Module) -> int:
    children = list(module.named_children())
    count = 0
    for (name, conv), (norm_name, norm) in pairwise(children):
        if not (isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
            continue
        if conv.out_channels == norm.num_features and norm.running_mean is not None:
            setattr(module, name, fuse_conv_bn_eval(conv, norm))
            setattr(module, norm_name, nn.Identity())
            count += 1
    if isinstance(module, PartUnits) and isinstance(module.norm, nn.BatchNorm1d):
        _fuse_parts(module.linear, module.norm)
        setattr(module, "norm", nn.Identity())  # noqa: B010
        count += 1
    return count + sum(_fuse_children(child) for _, child in children)


@torch.no_grad()
def _fuse_parts(linear: PartLinear, norm: nn.BatchNorm1d) -> None:
    """Let the layers of P parts give what their normalization would make of it, by its running statistics."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).view_as(linear.bias)
    linear.bias.copy_((linear.bias - norm.running_mean.view_as(scale)) * scale + norm.bias.view_as(scale))
    linear.weight.mul_(scale.unsqueeze(1))


def _same_on_noise(model: nn.Module, copied: nn.Module, size: tuple[int, int]) -> bool:
    device = next(model.parameters()).device
    noise = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.inference_mode():
        expected, found = (normalize(m(noise).descriptor.float(), dim=1) for m in (model, copied))
    return bool(np.isclose(float((expected * found).sum()), 1, atol=1e-4))
