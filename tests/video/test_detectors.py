"""Detectors behind one protocol: graphs of three forms, text files, functions, results of other packages; tiles."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from drawn_video import write_det
from numpy.typing import NDArray

from crosscam.errors import ArgumentError, DataError, EngineError
from crosscam.video.detections import Detections, as_detections, overlaps, suppress
from crosscam.video.graphs import GraphDetector, read_yolox
from crosscam.video.mot import read_mot
from crosscam.video.opening import identify_detector, open_detector
from crosscam.video.tiles import Tiled, look_at, read_tiles, spans, windows_of

onnx = pytest.importorskip("onnx")
pytest.importorskip("openvino")

SIZE = 64  # of the tiny graphs' images: 8 x 8 + 4 x 4 + 2 x 2 rows
BOX = np.array([[24.0, 16.0, 40.0, 48.0]])


def tiny_yolox(path: Path, *, decoded: bool) -> Path:
    """A graph in YOLOX's form: a cell of stride 8 is a person, 16 x 32 pixels, where it is brighter than half."""
    from onnx import TensorProto, helper, numpy_helper

    strides = (8, 16, 32)
    nodes, names = [], []
    for stride in strides:
        cells = SIZE // stride
        nodes += [
            helper.make_node("AveragePool", ["gray"], [f"p{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2),
            helper.make_node("Reshape", [f"p{stride}", f"shape{stride}"], [f"r{stride}"]),
        ]
        names.append((f"shape{stride}", np.array([1, cells * cells, 1], np.int64)))
    sizes = np.concatenate([np.full(((SIZE // s) ** 2, 1), s, np.float32) for s in strides])
    places = np.concatenate(
        [
            np.stack(np.meshgrid(np.arange(SIZE // s), np.arange(SIZE // s)), axis=2).reshape(-1, 2).astype(np.float32)
            for s in strides
        ]
    )
    if decoded:
        boxes = np.concatenate(((places + 0.5) * sizes, np.tile([16.0, 32.0], (len(sizes), 1))), axis=1)
    else:
        boxes = np.concatenate((np.full_like(places, 0.5), np.log(np.array([[16.0, 32.0]]) / sizes)), axis=1)
    # Only the smallest stride may see anyone.
    small = (sizes == 8).astype(np.float32)
    constants = [
        *names,
        ("boxes", boxes[None].astype(np.float32)),
        ("small", small[None]),
        ("mean", np.full((1, 3, 1, 1), 1 / 3 / 255, np.float32)),
        ("half", np.array(0.5, np.float32)),
        ("person", np.tile(np.float32([0.9, 0.1]), (1, len(sizes), 1))),
    ]
    nodes = [
        helper.make_node("Conv", ["images", "mean"], ["gray"]),
        *nodes,
        helper.make_node("Concat", [f"r{s}" for s in strides], ["bright"], axis=1),
        helper.make_node("Greater", ["bright", "half"], ["over"]),
        helper.make_node("Cast", ["over"], ["sure"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["sure", "small"], ["objects"]),
        helper.make_node("Concat", ["boxes", "objects", "person"], ["output"], axis=2),
    ]
    rows = len(sizes)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, rows, 7])],
        [numpy_helper.from_array(value, name) for name, value in constants],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def with_light(height: int, width: int, top: int, left: int, side: int) -> NDArray[np.uint8]:
    """A dark frame with a bright square."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[top : top + side, left : left + side] = 255
    return frame


@pytest.mark.parametrize("decoded", [False, True])
def test_yolox_boxes_are_those_of_the_frame(tmp_path: Path, decoded: bool) -> None:
    detector = open_detector(str(tiny_yolox(tmp_path / "tiny.onnx", decoded=decoded)))
    found = detector(with_light(SIZE, SIZE, 24, 32, 8))
    np.testing.assert_allclose(found.boxes, [[28, 12, 44, 44]], atol=1e-3)
    np.testing.assert_allclose(found.scores, [0.9], atol=1e-6)
    # A frame twice as wide as high is letter-boxed: the same cell is elsewhere, and the box twice as large.
    wide = detector(with_light(SIZE, 2 * SIZE, 32, 64, 16))
    np.testing.assert_allclose(wide.boxes, [[56, 8, 88, 64]], atol=1e-3)
    assert len(detector(np.zeros((SIZE, SIZE, 3), np.uint8))) == 0


def test_yolox_rows_of_another_size_are_refused() -> None:
    with pytest.raises(EngineError, match="has 84 rows; this one gave 5"):
        read_yolox(np.full((5, 7), -1.0), SIZE, SIZE)


def graph_of(path: Path, outputs: dict[str, NDArray[np.float32]], shape: list[int], kind: str) -> Path:
    """An OpenVINO file with constant outputs; the input is taken, times nothing."""
    import openvino as ov
    from openvino import opset13 as ops

    image = ops.parameter(shape, ov.Type.u8 if kind == "uint8" else ov.Type.f32, name="image")
    nothing = ops.multiply(
        ops.reduce_sum(ops.convert(image, "f32"), ops.constant(np.arange(4)), False), ops.constant(np.float32(0))
    )
    results = []
    for name, values in outputs.items():
        node = ops.add(ops.constant(values.astype(np.float32)), nothing)
        node.output(0).set_names({f"{name}:0"})
        results.append(ops.result(node))
    ov.save_model(ov.Model(results, [image], "tiny"), str(path))
    return path


def test_an_ssd_file_of_openvino(tmp_path: Path) -> None:
    rows = np.array(
        [
            [0, 1, 0.8, 0.25, 0.25, 0.5, 0.75],
            [0, 2, 0.9, 0, 0, 1, 1],  # another class
            [0, 1, 0.05, 0, 0, 1, 1],  # unlikely
            [-1, 0, 0, 0, 0, 0, 0],  # the end
            [0, 1, 0.9, 0, 0, 1, 1],
        ]
    )
    path = graph_of(tmp_path / "ssd.xml", {"out": rows[None, None]}, [1, 3, 32, 32], "float")
    found = open_detector(str(path))(np.zeros((100, 200, 3), np.uint8))
    np.testing.assert_allclose(found.boxes, [[50, 25, 100, 75]])
    np.testing.assert_allclose(found.scores, [0.8], atol=1e-3)


def test_a_graph_of_tensorflow(tmp_path: Path) -> None:
    outputs = {
        "detection_boxes": np.array([[[0.1, 0.2, 0.6, 0.4], [0, 0, 1, 1]]]),
        "detection_scores": np.array([[0.7, 0.9]]),
        "detection_classes": np.array([[1.0, 3.0]]),
    }
    path = graph_of(tmp_path / "tf.xml", outputs, [1, 300, 300, 3], "uint8")
    detector = GraphDetector(path)
    np.testing.assert_allclose(detector(np.zeros((100, 140, 3), np.uint8)).boxes, [[28, 10, 56, 60]], rtol=1e-3)
    # A wide frame is seen in two windows of 4:3; the graph's one answer is the same place in each.
    wide = detector(np.zeros((90, 160, 3), np.uint8)).boxes
    np.testing.assert_allclose(wide, [[24, 9, 48, 54], [64, 9, 88, 54]], rtol=1e-3)


def test_windows_cover_a_frame_and_overlap_by_more_than_half() -> None:
    for height, width in ((432, 768), (768, 432), (480, 640), (400, 600), (100, 1000), (333, 777), (50, 50)):
        windows = windows_of(np.zeros((height, width, 3), np.uint8), 4 / 3)
        starts, ends = np.array(windows)[:, :2].sum(axis=1), np.array(windows)[:, 2:].max(axis=1)
        long, short = max(height, width), min(height, width)
        assert (starts[0], ends[-1]) == (0, long)
        assert all(end - start <= 1.51 * short for start, end in zip(starts, ends, strict=True))
        shared = ends[:-1] - starts[1:]
        assert (shared >= 0.59 * (ends - starts)[0]).all()
    assert len(windows_of(np.zeros((432, 768, 3), np.uint8), 4 / 3)) == 2
    assert len(windows_of(np.zeros((400, 600, 3), np.uint8), 4 / 3)) == 1


def test_a_person_whom_a_window_cuts_is_whole_in_the_next() -> None:
    frame = np.zeros((90, 160, 3), np.uint8)
    frame[10:80, 110:130] = 255

    def bright(window: NDArray[np.uint8]) -> Detections:
        columns = np.flatnonzero(window.any(axis=(0, 2)))
        if not len(columns):
            return Detections(np.zeros((0, 4)), np.zeros(0))
        return Detections(np.array([[columns[0], 10.0, columns[-1] + 1, 80.0]]), np.ones(1))

    found = look_at(bright, frame, windows_of(frame, 4 / 3))
    assert found.boxes.tolist() == [[110, 10, 130, 80]]


def test_a_graph_of_another_form_is_one_line(tmp_path: Path) -> None:
    path = graph_of(tmp_path / "other.xml", {"out": np.zeros((2, 2))}, [1, 3, 8, 8], "float")
    with pytest.raises(EngineError, match="is not a detector that crosscam knows"):
        open_detector(str(path))
    (tmp_path / "torn.onnx").write_bytes(b"torn")
    with pytest.raises(EngineError, match=r"torn\.onnx cannot be opened"):
        open_detector(str(tmp_path / "torn.onnx"))
    with pytest.raises(EngineError, match="No detector at"):
        open_detector(str(tmp_path / "gone.onnx"))
    with pytest.raises(ArgumentError, match=r"--detector 'what\?'"):
        open_detector("what?")


def test_a_det_file_gives_the_boxes_of_each_frame(tmp_path: Path) -> None:
    truth = [np.zeros((0, 5)), np.array([[1, 2, 11, 22, 0], [30, 2, 41, 22, 1]], float), np.zeros((0, 5)), np.eye(1, 5)]
    truth[3][0] = (5, 5, 9, 9, 0)
    detector = open_detector(str(write_det(tmp_path / "det.txt", truth)))
    frame = np.zeros((4, 4, 3), np.uint8)
    assert [len(detector(frame)) for _ in truth] == [0, 2, 0, 1]
    np.testing.assert_allclose(detector.of_frame(1).boxes, truth[1][:, :4])
    (tmp_path / "bad.txt").write_text("1,-1,0,0,5,5,0.5\n2,-1,x\n")
    with pytest.raises(DataError, match=r"bad\.txt, line 2: '2,-1,x' is not a line"):
        open_detector(str(tmp_path / "bad.txt"))


def test_a_function_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_18.py").write_text("def find(frame):\n    return [[1, 2, 3, 4]], [0.5]\n")
    monkeypatch.chdir(tmp_path)
    detector = open_detector("mine_18:find")
    found = as_detections(detector(np.zeros((9, 9, 3), np.uint8)))
    assert found.boxes.tolist() == [[1, 2, 3, 4]]
    assert identify_detector(detector) == "mine_18:find"
    with pytest.raises(ArgumentError, match="cannot be imported"):
        open_detector("mine_18:lose")
    sys.modules.pop("mine_18")


@pytest.mark.parametrize(
    ("boxes", "score", "said"),
    [
        ([0.1, 0.1, 0.3, 0.9], 0.5, "the box 0.1, 0.1, 0.3, 0.9.*no shares of the frame"),
        ([10, 10, 50, 90], 87, "the score 87. Expected confidences from 0 to 1"),
        ([10, 10, 50, 90], -1, "the score -1"),
        ([10, 10, 50, float("nan")], 0.5, "not a finite number"),
    ],
)
def test_boxes_and_scores_of_another_kind_are_refused(boxes: list[float], score: float, said: str) -> None:
    """Of shares of the frame nobody would be tall enough; of negative scores there would be no tracks, and no word."""
    with pytest.raises(ArgumentError, match=said):
        as_detections((np.array([boxes]), np.array([score])))


def test_a_det_file_of_shares_is_named(tmp_path: Path) -> None:
    (tmp_path / "det.txt").write_text("1,-1,0.1,0.1,0.2,0.8,0.9\n")
    with pytest.raises(DataError, match=r"det\.txt: The detector gave the box 0.1, 0.1, 0.3, 0.9"):
        read_mot(tmp_path / "det.txt")
    (tmp_path / "det.txt").write_text("1,-1,0,0,0,0,0\n2,-1,5,5,20,60,0.9\n")
    assert [len(found) for found in read_mot(tmp_path / "det.txt").values()] == [0, 1], (
        "a line for a frame without people"
    )


def test_results_of_other_packages_are_read() -> None:
    two = np.concatenate((BOX, BOX + 1))
    supervision = SimpleNamespace(xyxy=two, confidence=np.array([0.5, 0.6]), data={"class_name": ["person", "dog"]})
    assert as_detections(supervision).scores.tolist() == [0.5]
    boxes = SimpleNamespace(xyxy=two, conf=np.array([0.5, 0.6]), cls=np.array([2.0, 0.0]))
    ultralytics = SimpleNamespace(boxes=boxes, names={0: "person", 2: "car"})
    assert as_detections(ultralytics).scores.tolist() == [0.6]
    assert as_detections([ultralytics]).scores.tolist() == [0.6]
    torch = pytest.importorskip("torch")
    assert as_detections((torch.tensor(two), torch.tensor([0.5, 0.6]))).boxes.tolist() == two.tolist()
    assert as_detections(np.column_stack((two, [0.5, 0.6]))).scores.tolist() == [0.5, 0.6]
    assert as_detections(two).scores.tolist() == [1, 1]
    assert len(as_detections(None)) == len(as_detections(np.zeros((0, 4)))) == len(as_detections([])) == 0
    for wrong in (np.zeros((2, 3)), "boxes", (two, np.zeros(3)), np.full((1, 4), np.nan)):
        with pytest.raises(ArgumentError, match="The detector gave"):
            as_detections(wrong)


def test_overlaps_and_suppression_equal_loops() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 50, (30, 2))
    boxes = np.concatenate((corners, corners + rng.uniform(5, 40, (30, 2))), axis=1)

    def overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
        h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
        return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)

    table = [[overlap(a, b) for b in boxes] for a in boxes]
    np.testing.assert_allclose(overlaps(boxes, boxes), table)
    scores = rng.permutation(30) / 30
    kept: list[int] = []
    for i in np.argsort(-scores):
        if all(table[i][k] <= 0.4 for k in kept):
            kept.append(int(i))
    assert suppress(as_detections((boxes, scores)), 0.4).scores.tolist() == np.round(scores[kept], 4).tolist()


def test_tiles_cover_the_frame_and_overlap() -> None:
    for size, count in ((1920, 3), (1080, 2), (101, 7), (50, 1)):
        pieces = spans(size, count)
        assert (pieces[0][0], pieces[-1][1], len(pieces)) == (0, size, count)
        assert all(a[1] > b[0] for a, b in pairwise(pieces))
    assert read_tiles("3x2") == (3, 2)
    for wrong in ("3", "0x2", "3x", "90x90", "axb"):
        with pytest.raises(ArgumentError, match="--tiles"):
            read_tiles(wrong)


def near_sighted(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Boxes (N, 4) of the bright areas that are at least a sixth as high as the frame."""
    from scipy.ndimage import find_objects, label

    found = [(x.start, y.start, x.stop, y.stop) for y, x in find_objects(label(frame[:, :, 0] > 0)[0])]
    return np.array([b for b in found if 6 * (b[3] - b[1]) >= len(frame)], dtype=np.float64).reshape(-1, 4)


def test_tiles_find_each_small_person_once() -> None:
    """The second one is cut by every tile that sees it, but not by the whole frame, for which it is large enough."""
    frame = np.zeros((128, 192, 3), np.uint8)
    boxes = [(30, 20, 36, 34), (66, 40, 76, 85), (170, 100, 176, 114), (118, 5, 124, 19)]
    for left, top, right, bottom in boxes:
        frame[top:bottom, left:right] = 255
    assert len(near_sighted(frame)) == 1
    tiled = Tiled(near_sighted, 3, 2)(frame)
    assert sorted(map(tuple, tiled.boxes)) == sorted(boxes)
