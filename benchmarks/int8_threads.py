"""Do OpenVINO's 8-bit 1 x 1 convolutions with a stride give the same rows at each call, on several threads?

``python benchmarks/int8_threads.py [--seconds 10] [--threads 2]``: calls one convolution of 32 images again and again,
as OpenVINO compiles it and as crosscam does, and counts the calls that differ from the most frequent result. It shows
most on busy cores. ``crosscam.inference.engines.openvino_engine.compile_graph`` says what crosscam does about it.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from typing import Any

import numpy as np

from crosscam.inference.engines.openvino_engine import compile_graph, openvino_core, settings_for

IMAGES, CHANNELS = 32, (8, 16, 24, 32, 40, 64, 72)


def convolution(channels: int) -> Any:
    """A graph of one 1 x 1 convolution with stride 2, weights of seven bits."""
    import openvino

    operations, rng = openvino.opset13, np.random.default_rng(0)
    images = operations.parameter([-1, channels, 8, 4], np.float32)
    low, high = np.float32(0), np.float32(2.55)
    rounded = operations.fake_quantize(images, low, high, low, high, 256)
    whole = operations.constant(rng.integers(-63, 64, (16, channels, 1, 1)).astype(np.int8))
    weights = operations.multiply(operations.convert(whole, np.float32), np.full((16, 1, 1, 1), 0.01, np.float32))
    return openvino.Model([operations.convolution(rounded, weights, [2, 2], [0, 0], [0, 0], [1, 1])], [images])


def counted(compiled: Any, channels: int, seconds: float) -> str:
    """Calls that differ, of all, as a text."""
    images = np.random.default_rng(1).random((IMAGES, channels, 8, 4), dtype=np.float32) * 2.5
    found: Counter[bytes] = Counter()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        found[np.array(compiled([images])[0]).tobytes()] += 1
    calls = sum(found.values())
    return f"{calls - found.most_common(1)[0][1]:,} of {calls:,}"


def main() -> None:
    """Call, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    settings = settings_for(False) | {"INFERENCE_NUM_THREADS": args.threads}
    for channels in CHANNELS:
        plain = counted(openvino_core().compile_model(convolution(channels), "CPU", settings), channels, args.seconds)
        ours = counted(compile_graph(convolution(channels), settings), channels, args.seconds)
        print(f"{channels} channels, calls that differ: OpenVINO {plain}, crosscam {ours}", flush=True)


if __name__ == "__main__":
    main()
