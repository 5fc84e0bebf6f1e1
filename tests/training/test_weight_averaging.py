"""Stochastic weight averaging, beside the plain mean of the epochs' weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import small_recipe
from torch import Tensor, nn

from crosscam.data.loading import open_images
from crosscam.data.records import ReidDataset
from crosscam.data.resizing import prepare
from crosscam.errors import RecipeError
from crosscam.inference.describing import load_model
from crosscam.recipes.checkpoint import load_weights
from crosscam.training.callbacks import Listeners
from crosscam.training.trainer import Trainer


def test_the_last_epochs_are_averaged_and_their_statistics_are_renewed(rendered: ReidDataset, tmp_path: Path) -> None:
    recipe = small_recipe("train.epochs=3", "train.swa_epochs=2", "evaluation.every=0")
    ends: list[dict[str, Tensor]] = []
    kept: list[dict[str, Tensor]] = []

    def keep(_: object) -> None:
        ends.append({k: v.clone() for k, v in trainer.model.state_dict().items()})
        kept.append(load_weights(tmp_path))

    listeners = Listeners(epoch=keep)
    trainer = Trainer(recipe, rendered, tmp_path, listeners=listeners)
    with trainer.joined():
        trainer.fit()
    saved = load_weights(tmp_path)
    for name, _ in trainer.model.named_parameters():
        torch.testing.assert_close(saved[name], (ends[1][name] + ends[2][name]) / 2)

    model = load_model(tmp_path, recipe)
    name, norm = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d))
    inputs: list[Tensor] = []
    norm.register_forward_pre_hook(lambda _, given: inputs.append(given[0].detach()))
    data, paths = recipe.data, [s.path for s in rendered.train]
    order = np.random.default_rng([recipe.train.seed, len(paths)]).permutation(len(paths))
    batches = np.array_split(order, -(-len(order) // (data.batch_ids * data.batch_images)))
    with torch.no_grad():
        for pixels in open_images(paths, data.height, data.width).batches(batches):
            model(prepare(pixels, data.height, data.width))
    mean = torch.stack([x.mean(dim=(0, 2, 3)) for x in inputs]).mean(dim=0)
    torch.testing.assert_close(saved[f"{name}.running_mean"], mean, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(saved[f"{name}.running_mean"], ends[2][f"{name}.running_mean"])
    # The mean that is kept after an epoch without scores can be used, too.
    assert not torch.allclose(kept[1][f"{name}.running_mean"], ends[1][f"{name}.running_mean"])
    assert kept[1][f"{name}.num_batches_tracked"] == len(batches)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("train.swa_epochs=2", "train.ema=0.9"), "weights have one average"),
        (("train.swa_epochs=3",), "expected at most train.epochs=2"),
        (("train.swa_epochs=-1",), "expected at least 0"),
    ],
)
def test_averages_that_make_no_sense_are_refused(settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        small_recipe(*settings)
