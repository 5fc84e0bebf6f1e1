"""1 x 1 convolutions with a stride, in 8 bits on OpenVINO: right whatever the threads do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crosscam.inference.engines.openvino_engine import compile_graph, settings_for

operations = pytest.importorskip("openvino").opset13
SCALE = np.float32(0.01)


def graph(weights: np.ndarray, stride: int, *, int8: bool = True) -> Any:
    """Images in steps of 0.01 from 0 to 2.55, and one convolution whose weights are whole hundredths."""
    import openvino

    images = operations.parameter([-1, weights.shape[1], 8, 4], np.float32, name="images")
    low, high = np.float32(0), np.float32(2.55)
    rounded = operations.fake_quantize(images, low, high, low, high, 256) if int8 else images
    whole = operations.convert(operations.constant(weights), np.float32)
    scaled = operations.multiply(whole, operations.constant(np.full((len(weights), 1, 1, 1), SCALE)))
    side = weights.shape[-1] // 2
    result = operations.convolution(rounded, scaled, [stride, stride], [side, side], [side, side], [1, 1])
    return openvino.Model([result], [images])


def slices(compiled: Any) -> int:
    kinds = [node.get_rt_info()["layerType"].astype(str) for node in compiled.get_runtime_model().get_ordered_ops()]
    return kinds.count("StridedSlice")


@pytest.mark.parametrize("channels", [8, 24, 72])
def test_channels_that_openvino_would_write_past_are_sliced_before(channels: int) -> None:
    rng = np.random.default_rng(channels)
    # Seven bits: without AVX-512, sums of two products of eight are cut off.
    weights = rng.integers(-63, 64, (16, channels, 1, 1)).astype(np.int8)
    compiled = compile_graph(graph(weights, 2), settings_for(bf16=False) | {"INFERENCE_NUM_THREADS": 2})
    assert slices(compiled) == 1
    images = (rng.integers(0, 256, (32, channels, 8, 4)) * SCALE).astype(np.float32)
    expected = np.einsum("nchw,oc->nohw", images[:, :, ::2, ::2], weights[:, :, 0, 0] * SCALE)
    # Some two in a hundred were wrong on two busy cores.
    for _ in range(50):
        np.testing.assert_allclose(compiled([images])[0], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "stride", "int8"),
    [((16, 32, 1, 1), 2, True), ((16, 8, 1, 1), 1, True), ((16, 8, 3, 3), 2, True), ((16, 8, 1, 1), 2, False)],
)
def test_other_convolutions_stay_as_they_are(shape: tuple[int, ...], stride: int, int8: bool) -> None:
    weights = np.ones(shape, np.int8)
    compiled = compile_graph(graph(weights, stride, int8=int8), settings_for(bf16=False))
    assert slices(compiled) == 0
