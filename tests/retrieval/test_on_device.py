"""The counts that torch makes on a device; here on the CPU, where no other is needed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crosscam.retrieval import metrics, on_device
from crosscam.retrieval.counting import count_closer, find_matches
from crosscam.retrieval.labels import Labels, check_labels
from crosscam.retrieval.on_device import count_closer_on_device

NAMES = ("others_before", "others_not_after", "matches_before", "matches_not_after")


def case(levels: int) -> tuple[np.ndarray, Labels]:
    rng = np.random.default_rng(levels)
    distances = (rng.integers(0, levels, (25, 300)) / levels).astype(np.float32)
    pids, cameras = (
        (rng.integers(0, 30, 25), rng.integers(-1, 30, 300)),
        (rng.integers(0, 3, 25), rng.integers(0, 3, 300)),
    )
    return distances, check_labels(distances.shape, *pids, *cameras)


@pytest.mark.parametrize("levels", [3, 50, 10**9])
def test_counts_are_those_of_numpy(levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_device, "COMPARED_ELEMENTS", 1000)
    distances, labels = case(levels)
    matches = find_matches(labels)
    expected = count_closer(distances, matches, backend="numpy")
    found = count_closer_on_device(torch.from_numpy(distances), matches)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    part = slice(matches.offsets[10], matches.offsets[17])
    block = count_closer_on_device(torch.from_numpy(distances[10:17]), matches, 10)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(block, name), getattr(expected, name)[part])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("protocol", ["market1501", "cuhk03"])
def test_a_matrix_on_a_device_scores_as_an_array(
    protocol: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    distances, labels = case(50)
    given = torch.from_numpy(distances).to(dtype)
    arguments = (labels.query_pids, labels.gallery_pids, labels.query_camids, labels.gallery_camids)
    expected = metrics.evaluate_ranking(given.float().numpy(), *arguments, protocol=protocol)  # type: ignore[arg-type]
    monkeypatch.setattr(metrics, "counts_on_device", lambda _: True)
    monkeypatch.setattr(metrics, "ROWS_AT_A_TIME", 7)
    # Not row by row in memory, so that it comes as blocks of tensors, as from a device.
    found = metrics.evaluate_ranking(given.T.contiguous().T, *arguments, protocol=protocol)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.average_precision, expected.average_precision)
    np.testing.assert_allclose(found.cmc, expected.cmc, rtol=1e-14)  # sums over blocks


def test_nan_is_named() -> None:
    distances, labels = case(50)
    distances[4, 9] = np.nan
    with pytest.raises(ValueError, match="NaN, first at query 4, gallery 9"):
        count_closer_on_device(torch.from_numpy(distances), find_matches(labels))
