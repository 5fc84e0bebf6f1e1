"""One network from pixels to unit descriptors, and its ONNX graph: the graph normalizes, so that its users do not."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from crosscam.data.resizing import IMAGENET_MEAN, IMAGENET_STD
from crosscam.errors import EngineError
from crosscam.inference.engines.base import ModelCard, Pixels, runtime

INPUT = "images"
OUTPUT = "descriptors"
OPSET = 20


@dataclass(frozen=True, eq=False)
class Network:
    """What engines are made of.

    Attributes:
        model: a run folder's network in evaluation mode, on the CPU in fp32.
        card: its card.
        device: ``"cpu"``, ``"cuda"``, ...
        int8_images: (N, H, W, 3) uint8 images that int8 takes its ranges from, at the model's input size; None for
            none.
        folder: its run folder, where what is found out about it is kept; None without one.
    """

    model: nn.Module
    card: ModelCard
    device: str = "cpu"
    int8_images: Pixels | None = None
    folder: Path | None = None


class PixelsToDescriptors(nn.Module):
    """A model with what stands before and after it: (B, H, W, 3) uint8 RGB to (B, D) of length 1.

    Gives what :func:`crosscam.models.output.describe` gives, from whole batches and without any step that an
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
        # Normalized in float32: bf16 would round the mean by more than a tenth of a level.
        images = self.normalized(pixels).to(self.dtype)
        if self.flip:
            # One pass over both keeps the weights in the graph once.
            images = torch.cat((images, images.flip(3)))
        descriptor: Tensor = self.model(images).descriptor.float()
        if self.flip:
            plain, mirrored = descriptor.chunk(2)
            descriptor = plain + mirrored
        return normalize(descriptor, dim=1)

    def normalized(self, pixels: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, 3, H, W) float32."""
        return (pixels.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) * self.scale


class RowsToDescriptors(PixelsToDescriptors):
    """The same numbers for torch itself: by rows of 3 W numbers, which a processor goes through much faster."""

    def normalized(self, pixels: Tensor) -> Tensor:
        """See :class:`PixelsToDescriptors`."""
        rows = pixels.flatten(2)
        mean, scale = (values.flatten().repeat(pixels.shape[2]) for values in (self.mean, self.scale))
        return ((rows.to(mean.dtype) - mean) * scale).view(pixels.shape).permute(0, 3, 1, 2)


def write_fp32(network: Network, path: Path, batch: int | None = None) -> None:
    """Write the graph of :class:`PixelsToDescriptors` as ONNX.

    torch's older exporter is used, since the newer one needs a further package (onnxscript).

    Args:
        path: the file.
        batch: number of images that the file takes at once; None for any.
    Raises:
        EngineError: onnx is not installed, or the network holds a step that ONNX does not have.
    """
    runtime("onnx")
    card = network.card
    example = torch.zeros((batch or 2, *card.size, 3), dtype=torch.uint8)
    free = {} if batch else {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                # The exporter puts everything into the mode in which it found the outermost module.
                PixelsToDescriptors(network.model, flip=card.flip).eval(),
                (example,),
                path,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes=free,
                opset_version=OPSET,
                dynamo=False,
            )
    except Exception as error:  # the exporter raises classes of its own
        raise EngineError(
            f"The network of recipe {card.recipe.name} cannot be written as ONNX ({type(error).__name__}). "
            "Take engine 'torch'."
        ) from error


def let_take_none(path: Path, height: int, width: int) -> None:
    """Change an ONNX file for any number of images so that it gives (0, D) descriptors of 0 images.

    A frame without people is a batch of none. Convolutions and pooling refuse empty batches. A black image is added to
    an empty batch, and to no other, and as many descriptors are given as there were images; those of other batches stay
    what they were, bit for bit.

    Args:
        path: the file; it is written anew.
        height, width: its input size.
    """
    onnx = runtime("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    model = onnx.load(os.fspath(path))
    graph = model.graph
    inside, outside = f"{INPUT}_or_one", f"{OUTPUT}_of_all"
    for node in graph.node:
        node.input[:] = [inside if name == INPUT else name for name in node.input]
        node.output[:] = [outside if name == OUTPUT else name for name in node.output]
    constants = {
        "none_zero": np.zeros(1, np.int64),
        "none_one": np.ones(1, np.int64),
        "none_size": np.array([height, width, 3], np.int64),
    }
    graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    black = helper.make_tensor("none_black", kinds.UINT8, [1], [0])
    before = [
        helper.make_node("Shape", [INPUT], ["none_shape"]),
        helper.make_node("Slice", ["none_shape", "none_zero", "none_one"], ["none_count"]),
        helper.make_node("Equal", ["none_count", "none_zero"], ["none_empty"]),
        helper.make_node("Cast", ["none_empty"], ["none_added"], to=kinds.INT64),
        helper.make_node("Concat", ["none_added", "none_size"], ["none_added_shape"], axis=0),
        helper.make_node("ConstantOfShape", ["none_added_shape"], ["none_added_images"], value=black),
        helper.make_node("Concat", [INPUT, "none_added_images"], [inside], axis=0),
    ]
    after = helper.make_node("Slice", [outside, "none_zero", "none_count", "none_zero"], [OUTPUT])
    nodes = [*before, *graph.node, after]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, os.fspath(path))
