"""What the training loop without labels decides itself: cameras, what is clustered, the loss, the projection."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_adapting import SETTINGS, untrained
from torch.nn.functional import normalize

from crosscam.adaptation import adapter as module
from crosscam.adaptation.adapter import Adapter
from crosscam.data.records import ReidDataset, Sample
from crosscam.errors import DataError
from crosscam.experiments.adapting import origin_of, recipe_for, without_labels
from crosscam.losses.proxies import cluster_contrast, inter_camera, intra_camera
from crosscam.models.output import ReidOutput
from crosscam.training.trainer import Trainer


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that learned nothing."""
    return untrained(tmp_path_factory.mktemp("source"))


def made(source: Path, rendered: ReidDataset, folder: Path, camids: list[int] | None = None, *more: str) -> Adapter:
    """An adaptation that has not begun; camera numbers in turn where they are given."""
    dataset = without_labels(rendered)
    if camids is not None:
        turned = (replace(s, camid=camids[k % len(camids)]) for k, s in enumerate(dataset.train))
        dataset = replace(dataset, train=tuple(turned))
    given = [setting for setting in SETTINGS if setting.split("=")[0] not in {m.split("=")[0] for m in more}]
    return Adapter(source, origin_of(source), recipe_for(source, [*given, *more]), dataset, folder)


@pytest.mark.parametrize(
    ("camids", "settings", "cameras"),
    [
        ([1, 2, 5], (), {1, 2, 5}),
        ([1, 2, -1, -7], (), {1, 2, -1}),  # of cameras below 0 nothing is known
        ([3, -1, -2], (), {0}),  # one known camera tells nothing apart
        ([-1, -2], (), {0}),
        ([1, 2], ("adapt.cameras=false",), {0}),
    ],
)
def test_which_cameras_have_proxies_of_their_own(
    source: Path, rendered: ReidDataset, tmp_path: Path, camids: list[int], settings: tuple[str, ...], cameras: set[int]
) -> None:
    found = made(source, rendered, tmp_path / "run", camids, *settings)
    assert set(found.cameras.tolist()) == cameras
    assert found.by_camera == (len(cameras) > 1)


def test_two_clusters_take_two_clusters_images(source: Path, rendered: ReidDataset, tmp_path: Path) -> None:
    few = replace(rendered, train=rendered.train[:9])
    assert len(made(source, few, tmp_path / "nine", None, "adapt.min_images=4").labels) == 9
    with pytest.raises(DataError, match="has 9 images to learn from, and two clusters take at least 10"):
        made(source, few, tmp_path / "ten", None, "adapt.min_images=5")


def labeled(adapter: Adapter, labels: list[int], seed: int = 0) -> Adapter:
    """Clusters of the first images, and a memory that is drawn."""
    adapter.labels = np.full(len(adapter.labels), -1, np.int64)
    adapter.labels[: len(labels)] = labels
    adapter._number_proxies()
    size = int(adapter.proxies.max()) + 1
    adapter.memory = normalize(torch.randn(size, 24, generator=torch.Generator().manual_seed(seed)), dim=1)
    return adapter


@pytest.mark.parametrize(("camids", "weight"), [([1, 2], 0.5), ([1, 2], 0.0), ([1], 0.5)])
def test_the_loss_is_of_the_memory_as_it_was_which_then_moves(
    source: Path, rendered: ReidDataset, tmp_path: Path, camids: list[int], weight: float
) -> None:
    found = labeled(made(source, rendered, tmp_path / "run", camids, f"adapt.inter_camera={weight}"), [0, 0, 1, 1])
    rows = torch.randn(4, 24, generator=torch.Generator().manual_seed(1)).requires_grad_()
    before, tau = found.memory, found.settings.temperature
    kept = before.clone()
    targets, indices = torch.tensor([0, 0, 1, 1]), np.arange(4)
    loss = found.loss_of(ReidOutput((rows[:, :8], rows[:, 8:])), targets, indices)
    features = normalize(rows.detach(), dim=1)
    own = torch.from_numpy(found.proxies[:4])
    if len(camids) > 1:
        places = own, found._cameras_of, found._clusters_of
        assert own.tolist() == [0, 1, 2, 3], "a proxy for each camera of a cluster"
        contrast = intra_camera(features, kept, own, found._cameras_of, tau)
        across = inter_camera(features, kept, *places, tau, found.settings.hard_proxies)
        expected = contrast + weight * across
    else:
        assert own.tolist() == [0, 0, 1, 1]
        expected = cluster_contrast(features, kept, targets, tau)
    torch.testing.assert_close(loss.total.detach(), expected)
    assert torch.equal(before, kept), "the gradient needs it as it was"
    assert not found.memory.requires_grad
    loss.total.backward()
    assert rows.grad is not None
    assert not torch.equal(found.memory, kept)
    last = normalize(found.settings.momentum * kept[own[-1]] + (1 - found.settings.momentum) * features[-1], dim=0)
    if len(camids) > 1:
        torch.testing.assert_close(found.memory[own[-1]], last)


def test_clusters_are_of_the_descriptor_before_its_projection(
    source: Path, rendered: ReidDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made(source, rendered, tmp_path / "run")
    seen: dict[str, object] = {}
    found.model = found.build(pretrained=True)
    projection = torch.nn.Identity()
    found.model.projection = projection

    def extract(model: torch.nn.Module, *_: object, **options: object) -> np.ndarray:
        seen.update(options, projection=model.projection)
        raise KeyError("stopped")

    monkeypatch.setattr(module, "extract", extract)
    with pytest.raises(KeyError):
        found._descriptors([])  # type: ignore[arg-type]
    assert (seen["projection"], seen["flip"]) == (None, False)
    assert found.model.projection is projection, "it is there again, also after an error"


def test_a_projection_is_fitted_to_enough_images_alone(
    source: Path, rendered: ReidDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made(source, rendered, tmp_path / "run")
    fitted: list[int] = []
    monkeypatch.setattr(Trainer, "fit_projection", lambda self, images: fitted.append(len(images)))
    found.model = found.build(pretrained=True)
    for projection in (None, SimpleNamespace(linear=SimpleNamespace(weight=torch.empty(4, 8)))):
        object.__setattr__(found.model, "projection", projection)
        for count in (16 * 8 - 1, 16 * 8):
            found.fit_projection([Sample(Path("a.jpg"), 0, 1)] * count)  # type: ignore[arg-type]
    assert fitted == [128]


def test_clusters_are_renewed_once_an_epoch_and_compared_with_those_before(
    source: Path, rendered: ReidDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made(source, rendered, tmp_path / "run")
    count = len(found.labels)
    rows = normalize(torch.randn(count, 24, generator=torch.Generator().manual_seed(0)), dim=1).numpy()
    halves, turns = np.arange(count) * 2 // count, np.arange(count) % 2
    drawn = iter([halves, turns])
    monkeypatch.setattr(found, "_descriptors", lambda images: rows)
    monkeypatch.setattr(module, "cluster", lambda *_: next(drawn))
    agreement = []
    for epoch in (1, 1, 2, 3):  # again after a checkpoint; behind the last epoch
        found.epoch = epoch
        found.renew_labels([])  # type: ignore[arg-type]
        assert found.clusters is not None
        agreement.append(found.clusters.agreement)
    assert agreement[:2] == [None, None], "nothing came before"
    assert agreement[2] is not None
    assert abs(agreement[2]) < 0.1
    assert agreement[3] == agreement[2]
    assert np.array_equal(found.labels, turns)
    of_first = (found.proxies == 0).nonzero()[0]
    expected = normalize(torch.from_numpy(rows[of_first]).double().sum(dim=0), dim=0)
    torch.testing.assert_close(found.memory[0].double(), expected, rtol=0, atol=1e-6)
