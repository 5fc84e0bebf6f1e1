from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from crosscam.errors import ModelMismatchError
from crosscam.gallery import ModelIdentity, create_gallery
from crosscam.gallery.source_network import matching_extractor
from crosscam.inference.extractor import Extractor
from crosscam.recipes.checkpoint import PROVENANCE, WEIGHTS, load_weights
from crosscam.shipped import SHIPPED, run_folder
from crosscam.training.trained_on import TRAINED_ON, load_trained_on


@pytest.fixture(scope="module")
def mini() -> Extractor:
    return Extractor.load("rrid-mini", engine="torch")


def images(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 128, 48, 3), dtype=np.uint8))


def test_a_shipped_network_opens_by_name_and_describes(mini: Extractor) -> None:
    rows = mini(images(3))
    assert rows.shape == (3, mini.dim)
    assert mini.dim <= 512
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert not np.allclose(rows[0], rows[1], atol=1e-2)


@pytest.mark.parametrize("name", SHIPPED)
def test_its_blocks_are_named(name: str) -> None:
    names = [block.name for block in Extractor.load(name, engine="torch").layout]
    assert names == [f"p4.local{i}" for i in (1, 2, 3, 4)] + ["p2.local1", "p2.local2", "p4.global", "p2.global"]


@pytest.mark.parametrize("name", SHIPPED)
def test_its_weights_are_small_and_finite(name: str) -> None:
    assert (run_folder(Path(name)) / WEIGHTS).stat().st_size <= 8_000_000
    weights = load_weights(Path(name))
    assert all(bool(value.isfinite().all()) for value in weights.values())
    assert not [key for key in weights if "_classifiers." in key]


@pytest.mark.parametrize("name", SHIPPED)
def test_it_says_whom_it_was_trained_on(name: str) -> None:
    """Digests of all its training images, in a small file."""
    file = run_folder(Path(name)) / TRAINED_ON
    assert file.stat().st_size <= 300_000
    data = json.loads((run_folder(Path(name)) / PROVENANCE).read_text(encoding="utf-8"))["data"]
    record = json.loads(file.read_text(encoding="utf-8"))
    images = data["train_images"] + data.get("unlabelled_images", 0)
    assert (record["people"], record["images"]) == (data["train_ids"], images)
    known = load_trained_on(Path(name))
    assert known is not None
    # The same photograph can be in a dataset twice.
    assert 0.97 * images <= len(known) <= images


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_folder(Path("rrid-mini")).is_absolute()
    Path("rrid-mini").mkdir()
    assert run_folder(Path("rrid-mini")) == Path("rrid-mini")
    assert run_folder(Path("runs/demo")) == Path("runs/demo")


def test_a_gallery_made_when_rrid_nano_was_called_rrid_mini_opens(tmp_path: Path) -> None:
    nano = Extractor.load("rrid-nano", engine="torch")
    identity = ModelIdentity(nano.fingerprint, "rrid-mini")
    with create_gallery(tmp_path / "people", nano.layout, identity) as gallery:
        assert matching_extractor(gallery, Path("rrid-mini")).fingerprint == nano.fingerprint
        with pytest.raises(ModelMismatchError):
            matching_extractor(gallery, run_folder(Path("rrid-mini")))
