"""A network fitted to pictures of other cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from crosscam.adapting import adapt
from crosscam.data.augment import prepare
from crosscam.data.images import decode_image
from crosscam.errors import CheckpointError, CrosscamError, DataError
from crosscam.extraction import Extractor, load_model
from crosscam.models.projection import BlockProjection
from crosscam.models.rrid import RRID
from crosscam.recipes.catalogue import RECIPES
from crosscam.training.checkpoint import load_recipe, load_weights, save_recipe, save_weights
from small_models import tiny_rrid

COUNT = 24


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Noise in a colour of each picture's own."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = [folder / f"{k:03}.png" for k in range(COUNT)]
    for path in paths:
        pixels = rng.integers(0, 100, (96, 32, 3)) + rng.integers(0, 156, 3)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return paths


def network(folder: Path, **settings: object) -> Path:
    """A run folder of a small RRID."""
    model, recipe = tiny_rrid(**settings)  # type: ignore[arg-type]
    save_recipe(folder, recipe)
    save_weights(folder, model.state_dict())
    return folder


def opened(folder: Path) -> RRID:
    model = load_model(folder, load_recipe(folder)).eval()
    assert isinstance(model, RRID)
    return model


@pytest.mark.parametrize(("project", "length", "found"), [(0, None, 5), (3, None, 3), (3, 4, 4), (0, 2, 2)])
def test_blocks_are_whitened_over_the_pictures(
    tmp_path: Path, pictures: list[Path], project: int, length: int | None, found: int
) -> None:
    source = network(tmp_path / "source", project=project)
    done = adapt(source, pictures, tmp_path / "out", length=length)
    before, after = opened(source), opened(tmp_path / "out")
    assert (done.pictures, done.length, done.numbers) == (COUNT, found, found * len(before.layout))
    assert [(b.name, b.rows) for b in after.layout] == [(b.name, b.rows) for b in before.layout]
    # The same by hand: the network without a projection, and a projection fitted to what it gives.
    before.projection = None
    with torch.inference_mode():
        rows = torch.cat([prepare(torch.from_numpy(decode_image(p))[None], 96, 32) for p in pictures])
        raw = torch.nn.functional.normalize(before(rows).descriptor, dim=1)
        by_hand = BlockProjection(len(before.layout), 5, found)
        by_hand.fit(raw)
        torch.testing.assert_close(
            after(rows).descriptor, torch.cat(by_hand(raw.split(5, dim=1)), dim=1), rtol=1e-3, atol=1e-3
        )
    assert Extractor.load(tmp_path / "out")(pictures[:2]).shape == (2, done.numbers)


def test_the_rest_of_the_network_stays(tmp_path: Path, pictures: list[Path]) -> None:
    source = network(tmp_path / "source", project=3)
    adapt(source, pictures, tmp_path / "out")
    before, after = load_weights(source), load_weights(tmp_path / "out")
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed == {"projection.linear.weight", "projection.linear.bias"}
    assert before.keys() == after.keys()


def test_what_cannot_be_adapted_is_told(tmp_path: Path, pictures: list[Path]) -> None:
    source = network(tmp_path / "source")
    with pytest.raises(DataError, match=r"9 pictures, but blocks of 5 numbers take at least 10"):
        adapt(source, pictures[:9], tmp_path / "out")
    for length in (0, 6, -1):
        with pytest.raises(CheckpointError, match=r"has 5 numbers. Give 1 to 5"):
            adapt(source, pictures, tmp_path / "out", length=length)
    with pytest.raises(CheckpointError, match="already holds a training"):
        adapt(source, pictures, source)
    save_recipe(tmp_path / "other", RECIPES["pcb"])
    with pytest.raises(CheckpointError, match="a network of pcb"):
        adapt(tmp_path / "other", pictures, tmp_path / "out")
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"no picture")
    with pytest.raises(CrosscamError, match=r"damaged\.png"):
        adapt(source, [*pictures, damaged], tmp_path / "out")
    assert not (tmp_path / "out").exists()
