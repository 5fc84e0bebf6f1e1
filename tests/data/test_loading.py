"""Images of a dataset: the same batches from memory and from disk, and clear words about what cannot be read."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from crosscam.data import loading
from crosscam.data.images import decode_image, resize_image
from crosscam.data.loading import Cache, ImageFiles, Images, ImagesInMemory, embed, open_images, read_ahead
from crosscam.data.records import ReidDataset
from crosscam.data.resizing import resize_bytes
from crosscam.data.samplers import in_order
from crosscam.errors import DataError

ORDER = [np.array([3, 0, 3]), np.array([2]), np.array([1, 4])]


def write_images(folder: Path, sizes: list[tuple[int, int]]) -> list[Path]:
    """Losslessly stored noise, (height, width) each."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{i}.png" for i in range(len(sizes))]
    for path, (height, width) in zip(paths, sizes, strict=True):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return paths


def all_of(images: Images) -> torch.Tensor:
    return torch.cat(list(images.batches([np.arange(len(images))])))


def test_memory_and_stream_give_the_same_batches(rendered: ReidDataset) -> None:
    paths = [s.path for s in rendered.train[:5]]
    memory, stream = (open_images(paths, 128, 64, cache) for cache in ("memory", "stream"))
    assert isinstance(memory, ImagesInMemory)
    assert isinstance(stream, ImageFiles)
    assert len(memory) == len(stream) == 5
    for indices, a, b in zip(ORDER, memory.batches(ORDER), stream.batches(ORDER), strict=True):
        assert a.dtype == torch.uint8
        assert torch.equal(a, b)
        assert torch.equal(a, torch.stack([torch.from_numpy(decode_image(paths[i])) for i in indices]))


def test_a_batch_from_memory_is_the_callers_own(tmp_path: Path) -> None:
    images = open_images(write_images(tmp_path, [(8, 4)] * 3), 8, 4)
    before = all_of(images)
    next(images.batches([np.array([0, 1, 2])])).zero_()
    assert torch.equal(all_of(images), before)


@pytest.mark.parametrize(
    ("stored", "wanted", "kept"),
    [
        ([(32, 16)] * 3, (64, 32), (32, 16)),
        ([(32, 16)] * 3, (32, 16), (32, 16)),
        ([(64, 32)] * 3, (32, 16), (32, 16)),
        ([(64, 16)] * 3, (32, 32), (32, 32)),
        ([(32, 16), (30, 16), (32, 16)], (64, 32), (64, 32)),
    ],
    ids=["smaller", "equal", "larger", "higher", "mixed"],
)
def test_images_are_kept_small_only_where_all_are_small_and_alike(
    tmp_path: Path, stored: list[tuple[int, int]], wanted: tuple[int, int], kept: tuple[int, int]
) -> None:
    paths = write_images(tmp_path, stored)
    found = all_of(open_images(paths, *wanted, "memory"))
    assert found.shape == (3, *kept, 3)
    for path, image in zip(paths, found, strict=True):
        assert np.array_equal(image.numpy(), resize_image(decode_image(path), *kept))


@pytest.mark.parametrize("cache", ["memory", "stream"])
def test_a_larger_image_among_many_small_ones_is_not_shrunk_to_their_size(tmp_path: Path, cache: Cache) -> None:
    # A sample of the files does not see it.
    paths = write_images(tmp_path, [(8, 4)] + [(32, 16)] + [(8, 4)] * 68)
    images = open_images(paths, 32, 16, cache)
    order = [np.array([0, 1, 2]), np.array([3, 4])]
    mixed, small = (resize_bytes(batch, 32, 16) for batch in images.batches(order))
    for index, image in zip([0, 1, 2, 3, 4], [*mixed, *small], strict=True):
        assert np.array_equal(image.numpy(), resize_image(decode_image(paths[index]), 32, 16)), index
    if isinstance(images, ImageFiles):
        assert next(images.batches(order[1:])).shape == (2, 8, 4, 3), "small ones are enlarged on the device"


def test_images_that_take_too_much_memory_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_images(tmp_path, [(8, 4)] * 2)
    need = 2 * 8 * 4 * 3
    monkeypatch.setattr(loading, "_free_memory", lambda: 2 * need)
    assert isinstance(open_images(paths, 8, 4), ImagesInMemory)
    monkeypatch.setattr(loading, "_free_memory", lambda: 2 * need - 1)
    assert isinstance(open_images(paths, 8, 4), ImageFiles)
    assert isinstance(open_images(paths, 8, 4, "memory"), ImagesInMemory)


def test_progress_ends_with_all_images(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    open_images(write_images(tmp_path, [(8, 4)] * 3), 8, 4, "memory", lambda done, all_: seen.append((done, all_)))
    assert seen[-1] == (3, 3)


@pytest.mark.parametrize("bad", [[0], [3, 5], [0, 1, 2, 3, 4, 5]])
def test_unreadable_images_are_counted_and_the_first_is_named(tmp_path: Path, bad: list[int]) -> None:
    paths = write_images(tmp_path, [(8, 4)] * 6)
    for i in bad:
        paths[i].write_text("no image")
    with pytest.raises(DataError) as caught:
        open_images(paths, 8, 4, "memory")
    message = str(caught.value)
    assert message.startswith(f"{len(bad)} of 6 images cannot be read. First: {paths[bad[0]]} ")
    assert "doctor" in message
    assert "\n" not in message


def test_an_unreadable_image_of_a_stream_is_named_in_one_line(tmp_path: Path) -> None:
    paths = write_images(tmp_path, [(8, 4)] * 4)
    paths[2].write_bytes(b"")
    images = open_images(paths, 8, 4, "stream")
    batches = images.batches([np.array([0, 1]), np.array([3, 2])])
    assert len(next(batches)) == 2
    with pytest.raises(DataError) as caught:
        next(batches)
    assert str(paths[2]) in str(caught.value)
    assert "0 bytes" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_images_are_refused() -> None:
    with pytest.raises(DataError, match="subset is empty"):
        open_images([], 8, 4)


def test_batches_are_read_in_order_and_one_ahead() -> None:
    asked: list[int] = []

    def read(item: int) -> int:
        asked.append(item)
        return item * item

    found = []
    for number, batch in enumerate(read_ahead(range(100), read, 16), 1):
        assert max(asked) < 16 * (number + 1), "memory is bounded"
        found.append(batch)
    assert [len(batch) for batch in found] == [16] * 6 + [4]
    assert [x for batch in found for x in batch] == [i * i for i in range(100)]
    assert sorted(asked) == list(range(100))
    assert list(read_ahead([], read, 4)) == []


def test_few_items_are_read_without_threads() -> None:
    threads = [t for batch in read_ahead(range(loading.FEW), lambda _: threading.get_ident(), 3) for t in batch]
    assert threads == [threading.get_ident()] * loading.FEW
    others = [t for batch in read_ahead(range(loading.FEW + 1), lambda _: threading.get_ident(), 3) for t in batch]
    assert threading.get_ident() not in others


def test_what_reading_raises_comes_with_its_batch() -> None:
    def read(item: int) -> int:
        if item == 21:
            raise KeyError(item)
        return item

    batches = read_ahead(range(40), read, 10)
    assert [next(batches) for _ in range(2)] == [list(range(10)), list(range(10, 20))]
    with pytest.raises(KeyError):
        next(batches)


def test_descriptors_of_batches_are_those_of_all_images() -> None:
    images = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float32)
    firsts, told = [], []

    def describe(batch: np.ndarray, first: int) -> np.ndarray:
        firsts.append(first)
        return 2 * batch

    batches = [images[rows] for rows in in_order(11, 4)]
    found = embed(batches, describe, 11, lambda *done: told.append(done))
    np.testing.assert_array_equal(found, 2 * images)
    assert firsts == [0, 4, 8]
    assert told == [(4, 11), (8, 11), (11, 11)]
    assert embed([], describe, dim=3).shape == (0, 3)
