"""One network from pixels to unit descriptors, and its ONNX graph: nobody who runs the file normalises twice."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from crosscam.data.augment import IMAGENET_MEAN, IMAGENET_STD

INPUT = "images"
OUTPUT = "descriptors"
OPSET = 20


class PixelsToDescriptors(nn.Module):
    """A model with what stands before and after it: (B, H, W, 3) uint8 RGB to (B, D) of length 1.

    Gives what :func:`crosscam.engines.torch_engine.describe` gives, from whole batches and without any step that an
    exported graph could not hold.

    Args:
        model: in evaluation mode; ``model(images).descriptor``.
        flip: whether the mirror image counts.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, model: nn.Module, *, flip: bool) -> None:
        super().__init__()
        self.model = model.eval()
        self.flip = flip
        self.dtype = next(model.parameters()).dtype
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).mul(255).view(3, 1, 1))
        self.register_buffer("scale", torch.tensor(IMAGENET_STD).mul(255).reciprocal().view(3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 RGB at the model's input size -> (B, D) float32, each of length 1."""
        # Normalised in float32: bf16 would round the mean by more than a tenth of a level.
        images = self.normalised(pixels).to(self.dtype)
        if self.flip:
            # One pass over both keeps the weights in the graph once.
            images = torch.cat((images, images.flip(3)))
        descriptor: Tensor = self.model(images).descriptor.float()
        if self.flip:
            plain, mirrored = descriptor.chunk(2)
            descriptor = plain + mirrored
        return normalize(descriptor, dim=1)

    def normalised(self, pixels: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, 3, H, W) float32."""
        return (pixels.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) * self.scale


class RowsToDescriptors(PixelsToDescriptors):
    """The same numbers for torch itself: by rows of 3 W numbers, which a processor goes through much faster."""

    def normalised(self, pixels: Tensor) -> Tensor:
        """See :class:`PixelsToDescriptors`."""
        rows = pixels.flatten(2)
        mean, scale = (values.flatten().repeat(pixels.shape[2]) for values in (self.mean, self.scale))
        return ((rows.to(mean.dtype) - mean) * scale).view(pixels.shape).permute(0, 3, 1, 2)


def write_onnx(model: nn.Module, path: Path, height: int, width: int, *, flip: bool, batch: int | None = None) -> None:
    """Write the graph of :class:`PixelsToDescriptors` as ONNX.

    torch's older exporter is used, since the newer one needs a further package (onnxscript).

    Args:
        model: on the CPU, fp32.
        path: the file.
        height, width: input size of the model.
        flip: whether the mirror image counts.
        batch: number of images that the file takes at once; None for any.
    """
    example = torch.zeros((batch or 2, height, width, 3), dtype=torch.uint8)
    free = {} if batch else {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            # The exporter puts everything into the mode in which it found the outermost module.
            PixelsToDescriptors(model, flip=flip).eval(),
            (example,),
            path,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,
        )
