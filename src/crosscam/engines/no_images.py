"""An exported graph that also takes no images: a frame without people is a batch of none."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from crosscam.engines.contract import runtime
from crosscam.engines.graph import INPUT, OUTPUT


def let_take_none(path: Path, height: int, width: int) -> None:
    """Change an ONNX file for any number of images so that it gives (0, D) descriptors of 0 images.

    Convolutions and pooling refuse empty batches. A black image is added to an empty batch, and to no other, and as
    many descriptors are given as there were images; those of other batches stay what they were, bit for bit.

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
