"""Descriptors: their length, their order, and what they must not depend on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from crosscam.data.images import decode_image, resize_image
from crosscam.data.loading import open_images
from crosscam.data.records import ReidDataset
from crosscam.data.resizing import prepare
from crosscam.errors import CheckpointError, CrosscamError, ImageError
from crosscam.inference.describing import extract, load_model
from crosscam.inference.extractor import Extractor
from crosscam.inference.tracker_features import TrackerFeatures
from crosscam.models.output import ReidOutput, describe
from crosscam.models.rrid import RRID
from crosscam.recipes import checkpoint
from crosscam.recipes.catalogue import build_model, find_recipe
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import with_settings

SMALL = [
    "name=small",
    "model.backbone=basic:stem=4,planes=4.4.8.8,out=4.4.8.8,depths=1.1.1.1",
    "model.scales=2",
    "model.dim=8",
    "data.height=64",
    "data.width=32",
]


def small_recipe(*settings: str) -> Recipe:
    return with_settings(find_recipe("demo"), [*SMALL, *settings])


def save_run(folder: Path, recipe: Recipe, num_ids: int = 5) -> RRID:
    """A run folder with random weights whose batch normalization is not at its start."""
    torch.manual_seed(3)
    model = build_model(recipe, num_ids)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, 3, recipe.data.height, recipe.data.width))
    folder.mkdir()
    checkpoint.save_recipe(folder, recipe)
    checkpoint.save_weights(folder, model.state_dict())
    return model.eval()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RRID]:
    folder = tmp_path_factory.mktemp("extraction") / "run"
    return folder, save_run(folder, small_recipe())


def test_a_descriptor_is_the_mean_over_the_mirror_at_unit_length(run: tuple[Path, RRID]) -> None:
    model = run[1]
    images = torch.randn(4, 3, 64, 32)
    with torch.inference_mode():
        plain, mirrored = model(images).descriptor, model(images.flip(3)).descriptor
        for flip, total in ((True, plain + mirrored), (False, plain)):
            expected = (total / total.square().sum(1, keepdim=True).sqrt()).numpy()
            found = describe(model, images, flip=flip)
            assert found.dtype == torch.float32
            np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert not np.allclose(plain.numpy(), mirrored.numpy(), atol=1e-3)


def test_with_the_mirror_an_image_and_its_mirror_image_are_the_same(run: tuple[Path, RRID]) -> None:
    images = torch.randn(3, 3, 64, 32)
    with torch.inference_mode():
        a, b = describe(run[1], images), describe(run[1], images.flip(3))
        c, d = describe(run[1], images, flip=False), describe(run[1], images.flip(3), flip=False)
    torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    assert (c - d).abs().max() > 1e-3


def small_images(paths: list[Path]) -> Tensor:
    """(B, 3, 64, 32): what the model is given."""
    arrays = [resize_image(decode_image(path), 64, 32) for path in paths]
    return prepare(torch.from_numpy(np.stack(arrays)), 64, 32)


class MeanColor(nn.Module):
    """A model whose descriptor a reader can compute: the mean of each channel, and one."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> ReidOutput:
        return ReidOutput(embeddings=(images.mean((2, 3)), torch.ones(len(images), 1)))


def test_extract_describes_all_images_in_their_order(rendered: ReidDataset) -> None:
    paths = [s.path for s in rendered.gallery[:7]]
    model = MeanColor().train()
    progress: list[tuple[int, int]] = []
    images = open_images(paths, 64, 32)
    found = extract(model, images, 64, 32, batch_size=3, progress=lambda *done: progress.append(done))
    assert not model.training
    assert progress == [(3, 7), (6, 7), (7, 7)]
    assert found.shape == (7, 4)
    assert found.dtype == np.float32
    for path, row in zip(paths, found, strict=True):
        expected = np.append(small_images([path]).mean((2, 3)).numpy(), 1.0)
        np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_the_batch_size_changes_nothing(rendered: ReidDataset, run: tuple[Path, RRID], batch_size: int) -> None:
    extractor = Extractor.load(run[0])
    paths = [s.path for s in rendered.gallery[:7]]
    np.testing.assert_allclose(extractor(paths, batch_size), extractor(paths), atol=2e-6)


def test_paths_arrays_and_files_give_the_same_descriptors(rendered: ReidDataset, run: tuple[Path, RRID]) -> None:
    extractor = Extractor.load(run[0])
    paths = [s.path for s in rendered.query[:5]]
    arrays = [decode_image(p) for p in paths]
    by_path = extractor(paths)
    assert by_path.shape == (5, extractor.dim)
    assert by_path.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(by_path, axis=1), 1, atol=1e-6)
    assert np.array_equal(by_path, extractor(arrays))
    assert np.array_equal(by_path, extractor(np.stack(arrays)))
    assert np.array_equal(by_path, extractor([str(paths[0]), arrays[1], *paths[2:]]))
    assert np.array_equal(by_path[::-1], extractor(paths[::-1]))
    assert np.array_equal(by_path, extractor.files(paths))
    assert not np.allclose(by_path[0], by_path[1], atol=1e-4)
    single = Extractor.load(run[0], flip=False)(paths)
    assert not np.allclose(single, by_path, atol=1e-4)


def test_files_smaller_than_the_model_takes_differ_by_rounding_alone(rendered: ReidDataset, tmp_path: Path) -> None:
    save_run(tmp_path / "run", small_recipe("data.height=256", "data.width=128"))
    extractor = Extractor.load(tmp_path / "run")
    paths = [s.path for s in rendered.query[:3]]
    cosines = (extractor.files(paths) * extractor(paths)).sum(axis=1)
    assert cosines.min() > 0.999


def test_the_extractor_is_the_saved_model(rendered: ReidDataset, run: tuple[Path, RRID]) -> None:
    folder, model = run
    extractor = Extractor.load(folder)
    assert not extractor.model.training
    assert extractor.layout == model.layout
    assert extractor.dim == model.layout[-1].stop == 8 * 3
    assert extractor.recipe == small_recipe()
    assert not any("classifiers" in name for name in extractor.model.state_dict())
    paths = [s.path for s in rendered.query[:3]]
    with torch.inference_mode():
        np.testing.assert_allclose(extractor(paths), describe(model, small_images(paths)).numpy(), atol=1e-5)


def test_nothing_to_describe_gives_no_rows(run: tuple[Path, RRID]) -> None:
    found = Extractor.load(run[0])([])
    assert found.shape == (0, 24)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 4), np.uint8),
        np.zeros((8, 4, 4), np.uint8),
        np.zeros((3, 8, 4), np.uint8),
        np.zeros((8, 4, 3), np.float32),
    ],
    ids=["grey", "rgba", "planes", "float"],
)
def test_arrays_that_are_no_images_are_refused(run: tuple[Path, RRID], image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8 RGB") as caught:
        Extractor.load(run[0])([image])
    assert str(image.shape) in str(caught.value)


def test_one_path_in_place_of_a_list_is_refused(run: tuple[Path, RRID]) -> None:
    for path in ("a.jpg", Path("a.jpg")):
        with pytest.raises(ValueError, match="Put it into a list"):
            Extractor.load(run[0])(path)  # type: ignore[arg-type]


def kinds_of(path: Path) -> list[object]:
    """One image in each kind that Python programs hold."""
    array = decode_image(path)
    chw = torch.from_numpy(array).permute(2, 0, 1)
    return [path, str(path), path.read_bytes(), open(path, "rb"), Image.open(path), array, chw, chw / 255]


def test_lists_and_generators_of_any_kind_give_the_same_descriptors(
    rendered: ReidDataset, run: tuple[Path, RRID]
) -> None:
    extractor = Extractor.load(run[0])
    paths = [s.path for s in rendered.query[:3]]
    # The same pixels in batches of the same sizes: equal to the last bit.
    found = extractor(kinds_of(paths[0]), value_range=(0, 1))
    assert np.array_equal(found, extractor(paths[:1] * 8))
    expected = extractor(paths * 7)
    assert np.array_equal(extractor(path for path in paths * 7), expected)
    # Batches come as a sampler gives them; one image object may stand in a list twice.
    image = Image.open(paths[0])
    assert np.array_equal(extractor([image] * 20, 8), extractor(paths[:1] * 20, 8))
    tensors = torch.stack([torch.from_numpy(decode_image(p)).permute(2, 0, 1) for p in paths])
    assert np.array_equal(extractor(tensors), extractor(paths))
    assert np.array_equal(extractor(tensors / 255, value_range=(0, 1)), extractor(paths))
    assert np.array_equal(extractor.decoded(Image.open(p) for p in paths), extractor.decoded(paths))
    assert extractor(iter(())).shape == (0, 24)


def test_a_generator_is_drawn_as_it_is_used(rendered: ReidDataset, run: tuple[Path, RRID]) -> None:
    drawn, seen = 0, []

    def many() -> Iterator[Path]:
        nonlocal drawn
        for _ in range(100):
            drawn += 1
            yield rendered.query[0].path

    Extractor.load(run[0])(many(), 10, progress=lambda done, total: seen.append((done, total, drawn)))
    assert seen[0][:2] == (10, 0)
    assert seen[0][2] <= 30, "two batches ahead at most"
    assert seen[-1] == (100, 0, 100)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([np.zeros((8, 4, 3), np.uint8), None], "Image 1 is None"),
        ([np.zeros((8, 4, 3), np.uint8), torch.zeros(3, 8, 4)], r"Image 1 is a tensor.*value_range=\(0, 1\)"),
        ((p for p in [np.zeros((8, 4, 3), np.uint8), 3]), r"Image 1 is an int \(3\)"),
        ([[np.zeros((8, 4, 3), np.uint8)]], "Image 0 is a list"),
        (Image.new("RGB", (4, 8)), "found one Image. Put it into a list"),
        (torch.zeros(3, 8, 4), "found one Tensor. Put it into a list"),
        (np.zeros((8, 4, 3), np.uint8), "found one ndarray. Put it into a list"),
        (BytesIO(b"a"), "found one BytesIO. Put it into a list"),
        (None, "Expected a list of images, found None"),
        (7, "Expected a list of images, found 7"),
        (np.float32(7), "Expected a list of images"),
        (torch.tensor(7), "Expected a list of images"),
        ([b"no image"], "Image 0 is not an image"),
    ],
)
def test_what_is_no_list_of_images_is_one_line(run: tuple[Path, RRID], images: object, message: str) -> None:
    with pytest.raises(CrosscamError, match=message) as caught:
        Extractor.load(run[0])(images)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_the_wrong_kind_is_told_before_anything_is_described(run: tuple[Path, RRID]) -> None:
    extractor = Extractor.load(run[0])
    done: list[tuple[int, int]] = []
    with pytest.raises(ValueError, match="Image 60 is None"):
        extractor([*[np.zeros((8, 4, 3), np.uint8)] * 60, None], 8, progress=lambda *d: done.append(d))  # type: ignore[list-item]
    assert not done


def test_progress_is_shown_when_asked_for_alone(
    rendered: ReidDataset, run: tuple[Path, RRID], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = Extractor.load(run[0])
    paths = [s.path for s in rendered.query[:9]]
    monkeypatch.setenv("FORCE_COLOR", "1")
    extractor(paths, progress=False)
    extractor.files(paths, progress=False)
    extractor.folder(paths[0].parent, progress=False)
    assert capfd.readouterr() == ("", "")
    for call in (
        lambda: extractor(paths, progress=True),
        lambda: extractor.files(paths, progress=True),
        lambda: extractor.folder(paths[0].parent, progress=True),
    ):
        call()
        out, err = capfd.readouterr()
        assert out == ""
        assert "describing" in err
    with pytest.raises(ValueError, match=r"progress is 'yes'\. Expected True, False or a function"):
        extractor(paths, progress="yes")  # type: ignore[arg-type]


def test_an_extractor_says_what_it_is(run: tuple[Path, RRID], rendered: ReidDataset) -> None:
    extractor = Extractor.load(run[0])
    assert repr(extractor) == f"Extractor('small', 24 numbers, 64 x 32, auto, {extractor.fingerprint[:4]}...)"
    extractor([rendered.query[0].path])
    assert ", torch, " in repr(extractor)
    assert repr(TrackerFeatures(extractor, color="rgb")) == f"TrackerFeatures({extractor!r}, rgb)"


def test_an_image_that_cannot_be_read_is_named(run: tuple[Path, RRID], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(ImageError, match=r"a\.jpg is not an image"):
        Extractor.load(run[0])([tmp_path / "a.jpg"])


def broken_run(run: tuple[Path, RRID], folder: Path, damage: str) -> Path:
    shutil.copytree(run[0], folder)
    if damage == "no weights":
        (folder / checkpoint.WEIGHTS).unlink()
    elif damage == "cut weights":
        path = folder / checkpoint.WEIGHTS
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "whole numbers":
        weights = checkpoint.load_weights(folder)
        name = next(name for name, value in weights.items() if value.is_floating_point())
        checkpoint.save_weights(folder, {**weights, name: torch.ones_like(weights[name], dtype=torch.int8)})
    elif damage == "other recipe":
        checkpoint.save_recipe(folder, small_recipe("model.dim=16"))
    elif damage == "other scales":
        checkpoint.save_recipe(folder, small_recipe("model.scales=4,2"))
    elif damage == "no recipe":
        (folder / checkpoint.RECIPE).unlink()
    elif damage == "newer recipe":
        values = json.loads((folder / checkpoint.RECIPE).read_text())
        (folder / checkpoint.RECIPE).write_text(json.dumps({**values, "era": "new"}))
    return folder


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("no weights", "No weights.safetensors in"),
        ("cut weights", "is damaged"),
        ("whole numbers", "has whole numbers (int8) in backbone."),
        ("other recipe", "does not fit its recipe small"),
        ("other scales", "does not fit its recipe small"),
        ("no recipe", "No recipe.json in"),
        ("newer recipe", "Unknown setting era"),
    ],
)
def test_a_broken_run_folder_is_answered_with_one_line(
    run: tuple[Path, RRID], tmp_path: Path, damage: str, expected: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        Extractor.load(broken_run(run, tmp_path / "broken", damage))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"No recipe\.json in .*nowhere"):
        Extractor.load(tmp_path / "nowhere")


def test_the_imagenet_file_is_needed_for_training_alone(tmp_path: Path) -> None:
    recipe = small_recipe()
    save_run(tmp_path / "run", recipe)
    checkpoint.save_recipe(tmp_path / "run", with_settings(recipe, ["model.pretrained=gone.pth"]))
    folder = tmp_path / "run"
    assert load_model(folder, checkpoint.load_recipe(folder)).layout[-1].stop == 24
