"""The check of a declared input: it catches the other order, and asks for enough images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from crosscam.data.network_input import NetworkInput
from crosscam.data.records import Sample
from crosscam.errors import DataError, EngineError
from crosscam.inference.engines.imported_network import ImportedNetwork
from crosscam.inference.engines.network_runtimes import open_module
from crosscam.inference.extractor import Extractor
from crosscam.inference.network_check import (
    Agreement,
    best_reading,
    check_rows,
    compare_readings,
    images_to_check,
    indistinguishable,
    mirror_margins,
    other_readings,
)
from imported_networks import HEIGHT, WIDTH, Stripes, write_people


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    paths = sorted(write_people(tmp_path_factory.mktemp("checked") / "people").iterdir())
    return [Sample(path, int(path.name[:4]), int(path.name[6])) for path in paths]


def compared(network: nn.Module, samples: list[Sample], text: str, *, labeled: bool):
    takes = NetworkInput.parse(text)
    pixels = Extractor.load(network, input=text).decoded([s.path for s in samples])
    opened = ImportedNetwork(open_module(network), takes, "network")
    return compare_readings(opened, pixels, [s.pid for s in samples] if labeled else None)


@pytest.mark.parametrize("labeled", [False, True])
def test_bgr_declared_as_rgb_is_caught(samples: list[Sample], labeled: bool):
    wrong = compared(Stripes(), samples, f"rgb {HEIGHT}x{WIDTH} 255", labeled=labeled)
    better = best_reading(wrong)
    assert better is not None
    assert str(better.takes) == f"bgr {HEIGHT}x{WIDTH} 255"
    assert (better.mean_ap is None) is not labeled
    assert best_reading(compared(Stripes(), samples, f"bgr {HEIGHT}x{WIDTH} 255", labeled=labeled)) is None


def test_what_a_network_does_not_tell_apart_is_not_complained_of(samples: list[Sample]):
    class Grey(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            rows = Stripes()(images.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1))
            return rows - rows.mean(dim=1, keepdim=True)

    found = compared(Grey(), samples, f"rgb {HEIGHT}x{WIDTH} 255", labeled=True)
    assert best_reading(found) is None
    assert f"bgr {HEIGHT}x{WIDTH} 255" in {str(one.takes) for one in indistinguishable(found, found[0])}


def test_margins_and_precisions_are_those_of_a_loop(samples: list[Sample]):
    random = np.random.default_rng(0)
    rows, mirrored = random.normal(size=(2, 5, 4))
    unit, turned = (r / np.linalg.norm(r, axis=1, keepdims=True) for r in (rows, mirrored))
    expected = [unit[i] @ turned[i] - np.mean([unit[i] @ turned[j] for j in range(5) if j != i]) for i in range(5)]
    np.testing.assert_allclose(mirror_margins(rows, mirrored), expected)
    (found, *_) = compared(Stripes(), samples, f"bgr {HEIGHT}x{WIDTH} 255", labeled=True)
    assert found.mean_ap == pytest.approx(1.0)


def test_of_readings_alike_the_declared_scale_is_taken():
    random = np.random.default_rng(0)
    levels = {"rgb 4x2 255": 0.5, "bgr 4x2 255": 0.6, "bgr 4x2 1": 0.602, "rgb 4x2 1": 0.5}
    found = [Agreement(NetworkInput.parse(text), random.normal(mean, 0.01, 64)) for text, mean in levels.items()]
    better = best_reading(found)
    assert better is not None
    assert str(better.takes) == "bgr 4x2 255"
    assert [str(one.takes) for one in indistinguishable(found, found[0])] == ["rgb 4x2 1"]
    assert best_reading(found[1:]) is None


def test_both_orders_and_all_scales_are_read():
    found = {str(t) for t in other_readings(NetworkInput.parse("bgr 4x2 255"))}
    assert found == {f"{order} 4x2 {scale}" for order in ("rgb", "bgr") for scale in ("255", "1", "imagenet")}
    own = other_readings(NetworkInput.parse("rgb 4x2 1 mean=0.1,0.2,0.3 std=0.5 opencv"))
    assert [str(t) for t in own[:2]] == [
        "rgb 4x2 1 mean=0.1,0.2,0.3 std=0.5,0.5,0.5 opencv",
        "bgr 4x2 1 mean=0.3,0.2,0.1 std=0.5,0.5,0.5 opencv",
    ]
    assert len(own) == 8


def test_images_are_spread_and_enough(samples: list[Sample]):
    assert {s.pid for s in images_to_check(samples, labeled=True)} == {s.pid for s in samples}
    many = [Sample(Path(f"{i}.jpg"), i, 1) for i in range(1000)]
    chosen = images_to_check(many, labeled=False)
    assert len(chosen) == 64
    assert [chosen[0], chosen[-1]] == [many[0], many[-1]]
    with pytest.raises(DataError, match="Found 3 images, too few"):
        images_to_check(samples[:3], labeled=False)


class Company(nn.Module):
    """Color means, changed in one way by what is beside an image; or no numbers at all."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, planes: Tensor) -> Tensor:
        rows = planes.mean(dim=(2, 3)) + planes[:, :, 0, 0]
        return {"alone": rows, "beside": rows - rows.mean(dim=0), "nan": rows / 0, "zero": rows * 0}[self.kind]


@pytest.mark.parametrize(
    ("kind", "message"), [("beside", "when others are beside it"), ("nan", "noise"), ("zero", "noise")]
)
def test_rows_must_be_numbers_of_one_image(kind: str, message: str):
    def opened(kind: str) -> ImportedNetwork:
        takes = NetworkInput.parse(f"rgb {HEIGHT}x{WIDTH} 1")
        return ImportedNetwork(open_module(Company(kind)), takes, "network")

    check_rows(opened("alone"))
    with pytest.raises(EngineError, match=message):
        check_rows(opened(kind))
