"""The script that fits the shipped network: its least squares, its norms, its head."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from crosscam.data.resizing import prepare
from crosscam.models.backbones.build import build_backbone
from crosscam.recipes.catalogue import RRID_MINI, build_model, find_recipe
from crosscam.recipes.checkpoint import save_recipe, save_weights


def opened(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return opened("fit_rrid_mini")


def test_the_package_takes_a_share_of_what_a_training_began_with(tmp_path: Path) -> None:
    maker = opened("make_rrid_mini")
    recipe = find_recipe("rrid-mini-fast")
    begun = {"a": torch.zeros(2, 2), "steps": torch.tensor(1), "part_classifiers.0": torch.ones(3)}
    ended = {"a": torch.full((2, 2), 8.0), "steps": torch.tensor(9), "part_classifiers.0": torch.zeros(5)}
    for name, weights in (("fit", begun), ("later", ended)):
        (tmp_path / name).mkdir()
        save_weights(tmp_path / name, weights)
        save_recipe(tmp_path / name, replace(recipe, train=replace(recipe.train, start=str(tmp_path / "fit"))))
    for share, value in ((0.25, 6.0), (0.0, 8.0), (1.0, 0.0)):
        found = maker.averaged(tmp_path / "later", share)
        assert found.keys() == {"a", "steps"}
        assert torch.equal(found["a"], torch.full((2, 2), value))
        assert found["steps"] == 9
    # A fit begins with the published body, and not with what its recipe trains from.
    (tmp_path / "fit" / "provenance.json").write_text('{"fitted": "so"}')
    (tmp_path / "later" / "provenance.json").write_text('{"data": {}}')
    told = maker.provenance_of(tmp_path / "later", recipe, 0.25)
    assert told == {"data": {}, "start": {"fitted": "so"}, "start_share": 0.25}


def test_least_squares_are_ridge_regression_on_standardized_inputs(script: ModuleType) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(3, [1, 5, 0.2], (50, 3)), rng.normal(size=(50, 2))
    penalties = np.array([0.1, 0.2, 0.0])
    squares = script.LeastSquares(3, 2)
    for rows in (slice(0, 20), slice(20, 50)):
        squares.add(torch.from_numpy(x[rows]).float(), torch.from_numpy(y[rows]).float())
    weights, bias = squares.solve(torch.from_numpy(penalties))
    standard = (x - x.mean(0)) / x.std(0)
    expected = np.linalg.solve(standard.T @ standard + 50 * np.diag(penalties), standard.T @ (y - y.mean(0)))
    np.testing.assert_allclose(x @ weights.numpy() + bias.numpy(), standard @ expected + y.mean(0), atol=1e-4)


def test_norms_get_the_statistics_of_their_inputs_and_compute_what_they_did(script: ModuleType) -> None:
    torch.manual_seed(0)
    body = build_backbone("osnet-lct").eval()
    for module in body.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias)
            module.weight.data.fill_((1 + module.eps) ** 0.5)
    images = torch.randn(8, 3, 64, 32)
    with torch.no_grad():
        before = body(images)
        script.unfold_norms(body, images)
        torch.testing.assert_close(body(images), before, rtol=1e-3, atol=1e-3)
        body.train()
        # In training the batch's own statistics are those that it was given.
        torch.testing.assert_close(body(images), before, rtol=1e-2, atol=1e-2)


def test_stripes_are_means_of_the_networks_own_map(script: ModuleType, tmp_path: Path) -> None:
    recipe = find_recipe("rrid-mini-fast")
    model = build_model(recipe, 0, pretrained=False).eval()
    drawn = np.random.default_rng(0).integers(0, 256, (3, 128, 64, 3), dtype=np.uint8)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, pixels in zip(paths, drawn, strict=True):
        Image.fromarray(pixels).save(path)
    images = prepare(torch.from_numpy(drawn), recipe.data.height, recipe.data.width)
    with torch.no_grad():
        rows = model.backbone(images).unflatten(2, (4, 4)).mean(dim=(3, 4)).transpose(1, 2)
    found = script.own_stripes(model, recipe, paths)
    assert found.shape == (3, 4, model.backbone.out_channels)
    np.testing.assert_allclose(found, rows.numpy(), rtol=2e-2, atol=2e-2)


def test_the_head_follows_the_descriptors_where_they_are_linear_in_the_stripes(script: ModuleType) -> None:
    """Descriptors that are a linear map of the mean over the image: every block gives its 64 directions of them."""
    torch.manual_seed(0)
    model = build_model(RRID_MINI, 0, pretrained=False).eval()
    channels = model.backbone.out_channels
    stripes = torch.randn(4000, 4, channels).abs()
    targets = stripes.mean(dim=1) @ torch.randn(channels, 256) / channels
    script.fit_head(model, [script.Stripes(stripes.half().numpy(), targets.numpy())], 0)

    class Given(torch.nn.Module):
        out_channels = channels

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    model.backbone = Given()
    maps = stripes[:16].half().float().transpose(1, 2).unsqueeze(3)
    with torch.no_grad():
        found = torch.stack(model(maps).embeddings[6:], dim=1)
    square = torch.randn(256, 256, generator=torch.Generator().manual_seed(1))
    directions = torch.linalg.qr(square)[0]
    for i, place in enumerate((2, 3)):
        expected = targets[:16] @ directions[:, 64 * place : 64 * place + 64]
        cosine = torch.nn.functional.cosine_similarity(found[:, i], expected, dim=1)
        assert cosine.min() > 0.97
