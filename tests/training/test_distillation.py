"""Teachers: their losses against loops, their descriptors kept, and trainings that learn from them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import Interruption, kill_at, same_weights, small_recipe, trained
from torch import nn

from crosscam.data.images import decode_image
from crosscam.data.network_input import NetworkInput
from crosscam.data.records import ReidDataset
from crosscam.errors import CheckpointError, RecipeError, TrainingError
from crosscam.inference.engines.network_file import declare, write_declaration
from crosscam.inference.extractor import Extractor
from crosscam.models.backbones.build import build_backbone
from crosscam.recipes.checkpoint import load_weights, save_weights
from crosscam.recipes.recipe import Distill
from crosscam.training import teachers
from crosscam.training.callbacks import read_history
from crosscam.training.teachers import KEPT, Distiller, similarity_loss, teacher_rows
from crosscam.training.trainer import Trainer, train


@pytest.fixture(scope="module")
def teacher(rendered: ReidDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder to learn from."""
    folder = tmp_path_factory.mktemp("teachers") / "teacher"
    trained(small_recipe("train.epochs=1"), rendered, folder)
    return folder


def student(teacher: Path, *settings: str):
    weights = ["distill.similarity=2000", "distill.mapping=10"]
    return small_recipe(f"distill.teachers={teacher}", *weights, "train.seed=5", *settings)


def test_similarity_loss_is_the_mean_over_pairs():
    generator = torch.Generator().manual_seed(0)
    own, taught = torch.randn(5, 7, generator=generator), torch.randn(5, 3, generator=generator)
    cosine = nn.CosineSimilarity(dim=0)
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    expected = sum((cosine(own[i], own[j]) - cosine(taught[i], taught[j])) ** 2 for i, j in pairs) / len(pairs)
    torch.testing.assert_close(similarity_loss(own, taught), expected)
    assert similarity_loss(3 * taught, taught) < 1e-12, "lengths do not count"


def test_distiller_adds_both_losses_of_all_teachers():
    torch.manual_seed(0)
    distiller = Distiller(6, [3, 4], similarity=2.0, mapping=0.5)
    own, taught = torch.randn(5, 6), [torch.randn(5, 3), torch.randn(5, 4)]
    expected = torch.zeros(())
    for rows, mapped in zip(taught, distiller.maps, strict=True):
        cosine = nn.functional.cosine_similarity(mapped(own), rows)
        expected = expected + 2.0 * similarity_loss(own, rows) + 0.5 * (1 - cosine).mean()
    torch.testing.assert_close(distiller(own, taught), expected / 2)
    alone = Distiller(6, [3], similarity=1.0, mapping=0.0)
    assert list(alone.parameters()) == []
    torch.testing.assert_close(alone(own, taught[:1]), similarity_loss(own, taught[0]))


def test_rows_are_the_teachers_descriptors_and_are_kept(
    teacher: Path, rendered: ReidDataset, tmp_path: Path, monkeypatch
):
    paths = [s.path for s in rendered.train[:20]]
    distill = Distill(teachers=(str(teacher),), similarity=1.0)
    done: list[tuple[int, int]] = []
    (rows,) = teacher_rows(distill, paths, tmp_path, lambda *at: done.append(at))
    np.testing.assert_allclose(rows.numpy(), Extractor.load(teacher, flip=False, engine="torch")(paths), atol=1e-3)
    mirrored = Extractor.load(teacher, engine="torch")(paths)
    assert abs(rows.numpy() - mirrored).max() > 1e-2, "an image is seen once, as it is"
    assert done[-1] == (20, 20)
    monkeypatch.setattr(teachers, "_described", lambda *_: pytest.fail("computed again"))
    (again,) = teacher_rows(distill, paths, tmp_path)
    assert torch.equal(rows, again)
    copies = [Path(shutil.copy(path, tmp_path / f"{number}.jpg")) for number, path in enumerate(paths)]
    (elsewhere,) = teacher_rows(distill, copies, tmp_path)
    assert torch.equal(rows, elsewhere)
    with pytest.raises(pytest.fail.Exception):
        teacher_rows(distill, paths[1:], tmp_path)


def test_a_file_of_a_teacher_is_opened_with_its_declared_input(rendered: ReidDataset, tmp_path: Path):
    openvino = pytest.importorskip("openvino")
    torch.manual_seed(0)
    network = nn.Sequential(build_backbone("resnet18-half"), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    example = torch.zeros(1, 3, 64, 32)
    openvino.save_model(
        openvino.convert_model(network, example_input=example, input=[-1, 3, 64, 32]), tmp_path / "t.xml"
    )
    distill = Distill(teachers=(str(tmp_path / "t.xml"),), input="bgr 64x32 255", similarity=1.0)
    paths = [s.path for s in rendered.train[:18]]
    (rows,) = teacher_rows(distill, paths, tmp_path)
    takes = NetworkInput.parse(distill.input)
    with torch.no_grad():
        images = [torch.from_numpy(decode_image(p))[None] for p in paths]
        expected = torch.cat([network(takes.scaled(takes.sized(image))) for image in images])
    expected = nn.functional.normalize(expected, dim=1)
    assert (rows.float() - expected).abs().max() < 3e-3
    write_declaration(declare(tmp_path / "t.xml", NetworkInput.parse("rgb 64x32 imagenet")), "0.2.0")
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(RecipeError, match=r"distill.input is .* takes .rgb 64x32 imagenet"):
        teacher_rows(distill, paths, other)
    (tmp_path / "ours.onnx").write_bytes(b"... crosscam.fingerprint ...")
    with pytest.raises(RecipeError, match=r"ours.onnx was written by 'crosscam export' .* Give the run folder"):
        teacher_rows(Distill(teachers=(str(tmp_path / "ours.onnx"),), similarity=1.0), paths, other)
    with pytest.raises(RecipeError, match=r"distill.teachers: No file .*gone\.xml"):
        teacher_rows(Distill(teachers=(str(tmp_path / "gone.xml"),), similarity=1.0), paths, tmp_path)


def test_a_teacher_whose_descriptors_are_not_finite_is_refused(teacher: Path, rendered: ReidDataset, tmp_path: Path):
    paths = [s.path for s in rendered.train[:3]]
    rows = np.array([[1.0, 2.0], [np.nan, 1.0], [0.0, 0.0]], np.float32)
    with pytest.raises(TrainingError, match=rf"no finite descriptor of {paths[1]} \(2 of 3 images\)"):
        teachers._unit_rows(rows, str(teacher), paths)


def test_a_student_comes_to_agree_with_its_teacher(teacher: Path, rendered: ReidDataset, tmp_path: Path):
    quick = ["train.epochs=8", "optim.lr_head=1e-2", "optim.lr_backbone=1e-2", "data.augment.erase=none"]
    trained(student(teacher, *quick), rendered, tmp_path / "taught")
    first, *_, last = read_history(tmp_path / "taught")
    assert last["distillation"] < 0.6 * first["distillation"]
    parts = last["triplet"] + 2.0 * last["cross_entropy"] + last["distillation"]
    assert last["loss"] == pytest.approx(parts, rel=1e-5), "the teacher's part is counted"
    trained(small_recipe(), rendered, tmp_path / "alone")
    assert "distillation" not in read_history(tmp_path / "alone")[-1]


def test_images_without_labels_change_the_result_and_are_listed_by_a_file(
    teacher: Path, rendered: ReidDataset, tmp_path: Path
):
    listing = tmp_path / "more.txt"
    listing.write_text("".join(f"{s.path}\r\n" for s in rendered.gallery[:12]), encoding="utf-8")
    more = [f"distill.unlabeled={listing}", "distill.unlabeled_images=3"]
    trained(student(teacher), rendered, tmp_path / "labels")
    trained(student(teacher, *more), rendered, tmp_path / "both")
    assert not same_weights(load_weights(tmp_path / "labels"), load_weights(tmp_path / "both"))
    with np.load(tmp_path / "both" / KEPT) as kept:
        assert len(kept["teacher0"]) == len(rendered.train) + 12
    listing.write_text("gone.jpg\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"1 of 1 image missing\. First: .*gone\.jpg"):
        train(student(teacher, *more), rendered, tmp_path / "third")
    assert not (tmp_path / "third").exists()


def test_a_student_goes_on_with_the_teachers_and_images_that_it_began_with(
    teacher: Path, rendered: ReidDataset, tmp_path: Path
):
    own, listing, folder = tmp_path / "teacher", tmp_path / "more.txt", tmp_path / "run"
    shutil.copytree(teacher, own)
    listing.write_text("\n".join(str(s.path) for s in rendered.query[:4]))
    more = (f"distill.unlabeled={listing}", "distill.unlabeled_images=2", "train.checkpoint_steps=2")
    recipe = student(own, *more)
    with pytest.raises(Interruption):
        train(recipe, rendered, folder, listeners=kill_at(1, 3))
    state = (folder / "state.pt").read_bytes()
    listing.write_text("\n".join(str(s.path) for s in rendered.query[1:5]))
    with pytest.raises(CheckpointError, match=r"distill\.unlabeled changed since it began"):
        train(recipe, rendered, folder, resume=True)
    listing.write_text("\n".join(str(s.path) for s in rendered.query[:4]))
    changed = {name: value + 0.1 if value.is_floating_point() else value for name, value in load_weights(own).items()}
    save_weights(own, changed)
    with pytest.raises(CheckpointError, match=r"distill\.teachers changed since it began"):
        train(recipe, rendered, folder, resume=True)
    assert (folder / "state.pt").read_bytes() == state
    shutil.copytree(teacher, own, dirs_exist_ok=True)
    train(recipe, rendered, folder, resume=True)
    save_weights(own, changed)
    with pytest.raises(CheckpointError, match=r"distill\.teachers changed since it began"):
        train(recipe, rendered, folder, resume=True)


def test_a_killed_student_goes_on_bit_for_bit(teacher: Path, rendered: ReidDataset, tmp_path: Path):
    recipe = student(teacher, "train.checkpoint_steps=2")
    whole = trained(recipe, rendered, tmp_path / "whole")
    with pytest.raises(Interruption):
        train(recipe, rendered, tmp_path / "killed", listeners=kill_at(2, 3))
    again = trained(recipe, rendered, tmp_path / "killed", resume=True)
    assert same_weights(whole.state_dict(), again.state_dict())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["distill.similarity=1"], "give teachers and a weight above 0, or neither"),
        (["distill.teachers=runs/a"], "give teachers and a weight above 0, or neither"),
        (["distill.unlabeled_images=4"], "give a list of images and how many of them"),
        (["distill.unlabeled=a.txt", "distill.unlabeled_images=4"], r"learned from distill\.teachers"),
    ],
)
def test_settings_that_would_change_nothing_are_refused(settings: list[str], message: str):
    with pytest.raises(RecipeError, match=message):
        small_recipe(*settings)


def test_frozen_stages_keep_weights_and_statistics(rendered: ReidDataset, tmp_path: Path):
    recipe = small_recipe("train.frozen_stages=2", "train.epochs=1")
    torch.manual_seed(recipe.train.seed)
    before = recipe.model.build(int(max(s.pid for s in rendered.train))).state_dict()
    after = trained(recipe, rendered, tmp_path / "run").state_dict()
    frozen = [k for k in before if k.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1"))]
    assert frozen
    assert all(torch.equal(before[k], after[k]) for k in frozen)
    assert not torch.equal(before["backbone.layer2.0.conv1.weight"], after["backbone.layer2.0.conv1.weight"])
    with pytest.raises(RecipeError, match="of rrid has 5 stages"):
        train(small_recipe("train.frozen_stages=6"), rendered, tmp_path / "more")


def test_teachers_that_draw_numbers_leave_the_student_alone(
    teacher: Path, rendered: ReidDataset, tmp_path: Path, monkeypatch
):
    folders = tmp_path / "read", tmp_path / "kept"
    trained(student(teacher, "train.epochs=1"), rendered, folders[0])
    folders[1].mkdir()
    shutil.copy(folders[0] / KEPT, folders[1])
    built: list[bool] = []
    build = Trainer.build
    monkeypatch.setattr(Trainer, "build", lambda run, **how: (built.append(how["pretrained"]), build(run, **how))[1])
    trained(student(teacher, "train.epochs=1"), rendered, folders[1])
    assert same_weights(*map(load_weights, folders))
    assert built == [True]
