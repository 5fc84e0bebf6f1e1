"""Every system by its name: a recipe that trains, and stages that are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from crosscam.data.records import ReidDataset
from crosscam.inference.extractor import Extractor
from crosscam.models.backbones.build import build_backbone
from crosscam.models.baselines.pcb import PCBRPP
from crosscam.models.baselines.svdnet import SVDNet
from crosscam.models.systems import SYSTEMS, layout_of
from crosscam.recipes.baseline_recipes import SYSTEM_RECIPES, scaled_down
from crosscam.recipes.catalogue import RECIPES, find_recipe
from crosscam.recipes.checkpoint import CLASSIFIERS
from crosscam.recipes.choices import LOSSES, Exponential
from crosscam.recipes.recipe import Recipe
from crosscam.training.callbacks import Listeners
from crosscam.training.plan import freeze_stages, learning_rate_factor
from crosscam.training.trainer import train


def test_every_system_and_every_loss_has_a_recipe() -> None:
    assert {r.model.system for r in RECIPES.values()} == set(SYSTEMS)
    assert {r.loss.name for r in RECIPES.values()} == set(LOSSES)


def tiny(recipe: Recipe) -> Recipe:
    """Two epochs, or as many as the stages need, on batches of 4 x 2."""
    small = scaled_down(recipe, epochs=4 if recipe.name in ("svdnet", "pcb-rpp") else 2)
    return replace(
        small, data=replace(small.data, batch_ids=4, batch_images=2), train=replace(small.train, precision="fp32")
    )


@pytest.mark.parametrize("recipe", SYSTEM_RECIPES, ids=lambda r: r.name)
def test_each_system_trains_and_describes(recipe: Recipe, rendered: ReidDataset, tmp_path: Path) -> None:
    dataset = replace(rendered, train=rendered.train[:24])
    recipe = tiny(recipe)
    losses: list[float] = []
    train(recipe, dataset, tmp_path / "run", listeners=Listeners(epoch=lambda record: losses.append(record["loss"])))
    assert len(losses) == recipe.train.epochs
    extractor = Extractor.load(tmp_path / "run")
    descriptors = extractor([s.path for s in dataset.train[:3]])
    assert descriptors.shape == (3, extractor.dim)
    assert torch.allclose(torch.from_numpy(descriptors).norm(dim=1), torch.ones(3), atol=1e-5)


@pytest.mark.parametrize("recipe", SYSTEM_RECIPES, ids=lambda r: r.name)
def test_an_image_is_described_alike_in_a_batch_alone_and_without_classifiers(recipe: Recipe) -> None:
    recipe = scaled_down(recipe, epochs=4)
    torch.manual_seed(0)
    model, describing = (recipe.model.build(num_ids).double().eval() for num_ids in (3, 0))
    assert not any(CLASSIFIERS in name for name in describing.state_dict())
    describing.load_state_dict({k: v for k, v in model.state_dict().items() if CLASSIFIERS not in k})
    images = torch.randn(3, 3, recipe.data.height, recipe.data.width, dtype=torch.float64)
    with torch.no_grad():
        together, single, bare = model(images), [model(image[None]) for image in images], describing(images)
    assert together.descriptor.shape == (3, layout_of(model)[-1].stop)
    torch.testing.assert_close(together.descriptor, torch.cat([s.descriptor for s in single]))
    for k, logits in enumerate(together.logits):
        torch.testing.assert_close(logits, torch.cat([s.logits[k] for s in single]))
    for name, extra in together.extras.items():
        torch.testing.assert_close(extra, torch.cat([s.extras[name] for s in single]))
    assert torch.equal(bare.descriptor, together.descriptor)
    assert bare.logits == ()


@pytest.mark.parametrize(
    "recipe", [r for r in SYSTEM_RECIPES if hasattr(r.model, "pretrained") and r.name != "mgn"], ids=lambda r: r.name
)
def test_a_system_starts_from_the_weights_of_a_file(recipe: Recipe, tmp_path: Path) -> None:
    settings = scaled_down(recipe, epochs=4).model
    state = build_backbone(settings.backbone).state_dict()
    save_file(state, tmp_path / "imagenet.safetensors")
    model = replace(settings, pretrained=str(tmp_path / "imagenet.safetensors")).build(3)
    loaded = model.backbone.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in state.items())


def trainable(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_refined_part_pooling_goes_through_its_stages() -> None:
    settings = replace(scaled_down(RECIPES["pcb-rpp"], 10).model, stripe_epochs=3, assignment_epochs=2)  # type: ignore[type-var]
    model = settings.build(4)
    assert isinstance(model, PCBRPP)
    stages = []
    for epoch in range(1, 8):
        settings.begin_epoch(model, epoch, resumed=False)
        stages.append(model.stage)
    assert stages == ["stripes"] * 3 + ["assignment"] * 2 + ["everything"] * 2
    settings.begin_epoch(model, 4, resumed=True)
    assert all(name.startswith("assignment") for name in trainable(model))


def test_svdnet_decomposes_once_when_an_epoch_is_resumed() -> None:
    settings = scaled_down(RECIPES["svdnet"], 8).model
    model = settings.build(4)
    assert isinstance(model, SVDNet)
    first = next(e for e in range(1, 9) if settings.plan.decorrelates(e))
    before = model.eigenlayer.weight.detach().clone()
    settings.begin_epoch(model, first, resumed=True)
    assert torch.equal(model.eigenlayer.weight, before)
    assert "eigenlayer.weight" not in trainable(model)
    settings.begin_epoch(model, first, resumed=False)
    assert not torch.equal(model.eigenlayer.weight, before)


def test_exponential_schedule() -> None:
    schedule = Exponential(constant_epochs=10)
    assert learning_rate_factor(schedule, 10, 30) == 1.0
    assert learning_rate_factor(schedule, 21, 30) == pytest.approx(1e-3**0.5)
    assert learning_rate_factor(schedule, 30, 30, share=1.0) == pytest.approx(1e-3)


@pytest.mark.parametrize(
    "name",
    [r.name for r in SYSTEM_RECIPES if hasattr(r.model, "pretrained") and r.name != "transreid"] + ["rrid-s", "rrid-f"],
)
def test_every_system_from_imagenet_takes_a_small_backbone_and_freezes_its_stages(name: str) -> None:
    recipe = scaled_down(find_recipe(name), 4, imagenet=True)
    assert (recipe.model.backbone, recipe.model.pretrained) == ("mobilenet-v2-trunk", "imagenet")
    model = recipe.model.build(5, pretrained=False).train()
    # The bag of tricks' neck has a bias that is never trained.
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    freeze_stages(model, recipe)
    frozen = [n for n in trained if not model.get_parameter(n).requires_grad]
    assert frozen
    assert all(n.startswith("backbone.") for n in frozen)
    images = torch.randn(4, 3, recipe.data.height, recipe.data.width)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    recipe.loss.compute(model(images), torch.tensor([0, 0, 1, 1])).total.backward()
    moved = {k.rpartition(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved
    assert not any(n.startswith(f"{m}.") for m in moved for n in frozen), "statistics of frozen stages stay"
