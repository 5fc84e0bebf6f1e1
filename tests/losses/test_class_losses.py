"""ArcFace, CosFace and center loss, beside loops as their papers write them; and a training with each."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from crosscam.data.records import ReidDataset
from crosscam.errors import RecipeError
from crosscam.losses import bnneck_loss, center_loss, margin_logits, move_centers
from crosscam.models.baselines.bot import CosineClassifier
from crosscam.models.output import ReidOutput
from crosscam.recipes.catalogue import find_recipe
from crosscam.recipes.checkpoint import load_weights
from crosscam.recipes.settings import with_settings
from crosscam.training.callbacks import read_history
from crosscam.training.trainer import Trainer

PIDS = [0, 2, 1, 2]


def rows(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, width)))


@pytest.mark.parametrize(
    ("kind", "scale", "margin"), [("arcface", 64.0, 0.5), ("arcface", 8.0, 1.2), ("cosface", 30.0, 0.35)]
)
def test_margins_as_written(kind: str, scale: float, margin: float) -> None:
    features, weights = rows(4, 5), rows(3, 5, seed=1)
    features[3] = -weights[2]  # half a turn away: the angle plus the margin would pass it
    expected = np.empty((4, 3))
    for i, pid in enumerate(PIDS):
        for k in range(3):
            cosine = float(features[i] @ weights[k] / features[i].norm() / weights[k].norm())
            angle = math.acos(max(-1.0, min(1.0, cosine)))
            if k == pid and kind == "cosface":
                cosine -= margin
            elif k == pid:
                cosine = math.cos(angle + margin) if angle + margin < math.pi else cosine - margin * math.sin(margin)
            expected[i, k] = scale * cosine
    head = CosineClassifier(5, 3).double()
    head.weight.data = weights
    found = margin_logits(head(features), torch.tensor(PIDS), kind, scale, margin)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-6, atol=1e-3)
    assert margin_logits(features, torch.tensor(PIDS), "plain") is features
    with pytest.raises(ValueError, match="plain, arcface or cosface"):
        margin_logits(features, torch.tensor(PIDS), "sphere")  # type: ignore[arg-type]


def test_margins_have_a_gradient_everywhere() -> None:
    cosines = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], requires_grad=True)
    margin_logits(cosines, torch.tensor([0, 0]), "arcface").sum().backward()
    assert cosines.grad is not None
    assert torch.isfinite(cosines.grad).all()


def test_centers_as_written() -> None:
    features, centers = rows(4, 5), rows(4, 5, seed=1)
    distances = [float((features[i] - centers[pid]) @ (features[i] - centers[pid])) for i, pid in enumerate(PIDS)]
    assert float(center_loss(features, centers, torch.tensor(PIDS))) == pytest.approx(sum(distances) / 8, rel=1e-6)
    expected = centers.clone()
    for k in range(4):
        mine = [features[i] for i, pid in enumerate(PIDS) if pid == k]
        for x in mine:
            expected[k] -= 0.3 * (centers[k] - x) / (1 + len(mine))
    move_centers(centers, features, torch.tensor(PIDS), 0.3)
    torch.testing.assert_close(centers, expected)


def test_center_loss_needs_centers_and_moves_them() -> None:
    before = rows(4, 5).float().requires_grad_()
    centers = torch.zeros(3, 5)
    output = ReidOutput((before,), (rows(4, 3).float(),), {"before_neck": before}, centers)
    pids = torch.tensor(PIDS)
    plain, with_centers = bnneck_loss(output, pids), bnneck_loss(output, pids, center_weight=0.5)
    half_squares = float(before.detach().square().sum(dim=1).mean() / 2)
    assert float(with_centers.total.detach() - plain.total.detach()) == pytest.approx(0.5 * half_squares, rel=1e-4)
    assert bool(centers.abs().sum(dim=1).gt(0).all())
    with_centers.total.backward()
    with pytest.raises(ValueError, match="no centers"):
        bnneck_loss(ReidOutput((before,), (), {"before_neck": before}), pids, center_weight=0.5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("loss.softmax=arcface", r"model\.classifier=linear: arcface and cosface take cosine"),
        ("model.classifier=cosine", "loss.softmax=plain with model.classifier=cosine"),
        ("loss.center_weight=0.1", r"model\.centers=false: give a weight"),
        ("model.centers=true", r"loss\.center_weight=0\.0 with model\.centers=true"),
        ("loss.softmax_margin=0.2", r"changes nothing with loss\.softmax=plain"),
        ("loss.center_rate=0.2", r"changes nothing with loss\.center_weight=0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        with_settings(find_recipe("bot"), [setting])


def test_a_recipe_trains_with_them(rendered: ReidDataset, tmp_path: Path) -> None:
    recipe = with_settings(
        find_recipe("bot"),
        [
            "model.backbone=basic:stem=8,planes=8.8.16.16,out=8.8.16.16,depths=1.1.1.1",
            "loss.softmax=arcface",
            "model.classifier=cosine",
            "loss.center_weight=0.0005",
            "model.centers=true",
            *("data.height=64", "data.width=32", "data.batch_ids=4", "data.batch_images=2", "train.epochs=3"),
            *("schedule.milestones=", "schedule.warmup_epochs=0", "optim.lr_backbone=0.003", "optim.lr_head=0.003"),
        ],
    )
    Trainer(recipe, rendered, tmp_path).fit(None)
    losses = [line["cross_entropy"] for line in read_history(tmp_path)]
    assert losses[-1] < losses[0]
    centers = load_weights(tmp_path)["center_classifiers.0.centers"]
    assert bool((centers.abs().sum(dim=1) > 0).all())
