"""What the runtimes do to the process, and behind its back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SIGNALS = """
import faulthandler, gc, os, signal
from pathlib import Path
faulthandler.enable()
from crosscam.inference.engines.openvino_engine import OpenVinoEngine
file = Path("model.onnx")
engines = [OpenVinoEngine(file), OpenVinoEngine(file)]
while engines:
    engines.pop(0)
    gc.collect()
signal.signal(signal.SIGCHLD, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGCHLD)
"""
SESSION = """
import os
from pathlib import Path
from crosscam.inference.engines.onnx_engine import OnnxEngine
OnnxEngine(Path("model.onnx"))
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


def run(script: str, folder: Path, **environment: str) -> str:
    onnx = pytest.importorskip("onnx")
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "model.onnx")
    around = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**around, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr}"
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="stacks for signals are OpenVINO's on Linux")
def test_a_signal_after_engines_that_are_gone_is_handled(tmp_path: Path) -> None:
    """A Core for each engine: the second to go put back the stack of the first, which was freed."""
    pytest.importorskip("openvino")
    assert run(SIGNALS, tmp_path) == "handled\n"


def test_onnxruntime_reports_to_nobody_unless_the_user_wants_it(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    home = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home" / "cache")}
    assert run(SESSION, tmp_path, **home) == "1\n"
    assert not [path for path in (tmp_path / "home").rglob("*") if "onnxruntime" in path.name]
    assert run(SESSION, tmp_path, **home, ORT_DISABLE_TELEMETRY="0") == "0\n"
