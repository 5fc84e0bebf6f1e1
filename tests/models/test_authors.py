from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from parity_state import PARITY, authors_state
from parity_state import authors_names as names_of_fixture
from torch import nn

from crosscam.errors import CheckpointError
from crosscam.models.authors import authors_names, import_authors, load_authors_state, read_authors_checkpoint
from crosscam.models.backbones.build import build_backbone
from crosscam.models.backbones.resnet import ResNet, ResNetShape
from crosscam.models.rrid import RRID, RRIDModel

SAMPLE = PARITY / "authors_checkpoint_sample_legacy.pth"
TINY = ResNetShape("bottleneck", (1, 1, 1, 1), 4, (2, 2, 2, 2), (8, 8, 8, 16))
BASIC = ResNetShape("basic", (2, 1, 1, 1), 4, (4, 4, 8, 8), (4, 4, 8, 8))


def tiny(num_ids: int = 3, **settings: object) -> RRID:
    return RRID(ResNet(settings.pop("shape", TINY)), num_ids, RRIDModel(**{"dim": 5, **settings}))


def state_for(model: RRID) -> dict[str, np.ndarray]:
    return authors_state(authors_names(model))


def tree_of(state: dict[str, np.ndarray]) -> nn.Module:
    """A module whose state dictionary is the given one."""
    root = nn.Module()
    for key, value in state.items():
        *path, name = key.split(".")
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module._modules[part]
        tensor = torch.from_numpy(np.array(value))
        if "running" in name or "num_batches" in name:
            module.register_buffer(name, tensor)
        else:
            module.register_parameter(name, nn.Parameter(tensor))
    return root


def same_state(first: nn.Module, second: nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return list(a) == list(b) and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


def test_names_and_shapes_are_the_authors():
    with torch.device("meta"):
        model = RRID(build_backbone("resnet50"), 10)
    assert authors_names(model) == names_of_fixture()
    assert len(names_of_fixture()) == 723


def test_every_value_lands_in_its_place():
    """Each of the authors' arrays is found in ours, at the part it belongs to."""
    model = tiny()
    state = state_for(model)
    load_authors_state(model, state)
    places = {"local": "local.part", "rest": "local.rest", "relation": "local.residual"}
    for k, n in enumerate((6, 4, 2)):
        branch = model.branches[k]
        for i in range(n):
            for word, place in places.items():
                unit = branch.get_submodule(place)
                key = f"{word}_{n}_conv_list.{i}"
                np.testing.assert_array_equal(
                    unit.linear.weight[i].detach().numpy().T, state[f"{key}.0.weight"][..., 0, 0]
                )
                np.testing.assert_array_equal(unit.linear.bias[i].detach().numpy(), state[f"{key}.0.bias"])
                for kind in ("weight", "bias", "running_mean", "running_var"):
                    ours = getattr(unit.norm, kind)[i * 5 : (i + 1) * 5].detach().numpy()
                    np.testing.assert_array_equal(ours, state[f"{key}.1.{kind}"])
            for g, word in enumerate(("fc_local_rest", "fc_local", "fc_rest")):
                layer = branch.local_classifiers[g]
                np.testing.assert_array_equal(layer.weight[i].detach().numpy().T, state[f"{word}_{n}_list.{i}.weight"])
                np.testing.assert_array_equal(layer.bias[i].detach().numpy(), state[f"{word}_{n}_list.{i}.bias"])
        for p, word in enumerate(("max", "rest")):
            weight = branch.globe.project.linear.weight[p].detach().numpy()
            np.testing.assert_array_equal(weight.T, state[f"global_{n}_{word}_conv_list.0.0.weight"][..., 0, 0])
        for g, word in enumerate(("fc_global", "fc_global_max", "fc_global_rest")):
            layer = branch.global_classifiers[g]
            np.testing.assert_array_equal(layer.weight[0].detach().numpy().T, state[f"{word}_{n}_list.0.weight"])
    np.testing.assert_array_equal(model.backbone.conv1.weight.detach().numpy(), state["base.conv1.weight"])


def test_prefix_tensors_and_double_precision():
    first, second, third = tiny(), tiny(), tiny().double()
    state = state_for(first)
    load_authors_state(first, state)
    load_authors_state(second, {f"module.{k}": torch.from_numpy(np.array(v)) for k, v in state.items()})
    assert same_state(first, second)
    load_authors_state(third, state)
    assert same_state(first.double(), third)


def test_the_model_keeps_its_parameters_and_the_state_its_arrays():
    model = tiny()
    state = state_for(model)
    before = [id(p) for p in model.parameters()]
    load_authors_state(model, state)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert [id(p) for p in model.parameters()] == before
    np.testing.assert_array_equal(state["base.conv1.weight"], state_for(model)["base.conv1.weight"])


@pytest.fixture(scope="module")
def whole_model() -> tuple[RRID, dict[str, np.ndarray]]:
    whole = tiny()
    state = state_for(whole)
    load_authors_state(whole, state)
    return whole, state


@pytest.mark.parametrize("scales", [(6,), (4,), (2, 6)])
@pytest.mark.parametrize(("num_ids", "classifiers"), [(3, "all"), (3, "descriptor"), (0, "all")])
def test_smaller_models_take_their_share(whole_model, scales, num_ids, classifiers):
    whole, state = whole_model
    model = tiny(num_ids, scales=scales, classifiers=classifiers)
    load_authors_state(model, state)
    images = torch.randn(1, 3, 192, 32)
    ours, theirs = model.eval()(images), whole.eval()(images)
    by_name = dict(zip([b.name for b in whole.layout], theirs.embeddings, strict=True))
    for block, embedding in zip(model.layout, ours.embeddings, strict=True):
        assert torch.allclose(embedding, by_name[block.name], atol=1e-6)


def test_counters_may_be_missing():
    model, other = tiny(), tiny()
    state = state_for(model)
    load_authors_state(model, state)
    load_authors_state(other, {k: v for k, v in state.items() if "num_batches" not in k})
    assert same_state(model, other)


def changed(state: dict[str, np.ndarray], how: str) -> dict[str, np.ndarray]:
    key = "rest_4_conv_list.2.0.weight"
    if how == "missing":
        return {k: v for k, v in state.items() if k != key}
    if how == "unknown":
        return {**state, "base.fc\n.weight": np.zeros(3, np.float32)}
    return {**state, key: state[key][:, :7]}


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("missing", "1 name missing, 0 unknown, 0 of another shape (first: 'rest_4_conv_list.2.0.weight' is missing)"),
        ("unknown", "0 names missing, 1 unknown, 0 of another shape (first: 'base.fc\\n.weight' is unknown)"),
        ("shape", "(first: 'rest_4_conv_list.2.0.weight' is (5, 7, 1, 1), expected (5, 16, 1, 1))"),
    ],
)
def test_a_state_that_does_not_fit_leaves_the_model_alone(how, expected):
    model, before = tiny(), tiny()
    before.load_state_dict(model.state_dict())
    with pytest.raises(CheckpointError) as caught:
        load_authors_state(model, changed(state_for(model), how))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert same_state(model, before)


@pytest.mark.parametrize("settings", [{"relation": "none"}, {"local_features": False}, {"global_pooling": "gap"}])
def test_models_of_another_structure_are_refused(settings):
    with pytest.raises(ValueError, match="relation='one_vs_rest' and global_pooling='gcp'"):
        load_authors_state(tiny(**settings), state_for(tiny()))


def test_rest_only_is_refused_by_its_shape():
    with pytest.raises(CheckpointError, match=r"relation_6_conv_list\.0\.0\.weight' is"):
        load_authors_state(tiny(relation="rest_only"), state_for(tiny()))


def test_the_authors_sample():
    state = read_authors_checkpoint(SAMPLE)
    assert len(state) == 507
    found = import_authors(SAMPLE)
    assert (found.scales, found.dim, found.num_ids) == ((6, 4, 2), 4, 3)
    assert found.backbone == "bottleneck:stem=4,planes=2.2.2.2,out=8.8.8.2048,depths=1.1.1.1"
    names = authors_names(found.model)
    assert {k: v.shape for k, v in state.items()} == names
    again = RRID(build_backbone(found.backbone), 3, RRIDModel(dim=4))
    load_authors_state(again, state)
    assert same_state(again, found.model)
    assert not found.model.training
    output = found.model(torch.randn(2, 3, 192, 64))
    assert output.descriptor.shape == (2, 60)
    assert len(output.logits) == 45
    # A model that can be trained on: writable, with gradients.
    output.descriptor.sum().backward()
    with torch.no_grad():
        found.model.backbone.conv1.weight.add_(1)


@pytest.mark.parametrize("zipped", [False, True], ids=["legacy", "zip"])
@pytest.mark.parametrize("whole", [False, True], ids=["state", "module"])
@pytest.mark.parametrize(
    ("settings", "num_ids"), [({}, 3), ({"scales": (6, 2), "shape": BASIC}, 4), ({"scales": (4,)}, 0)]
)
def test_import_finds_all_sizes(tmp_path: Path, zipped, whole, settings, num_ids):
    model = tiny(num_ids, **settings)
    state = state_for(model)
    load_authors_state(model, state)
    path = tmp_path / "authors.pth"
    tree = nn.DataParallel(tree_of(state))
    torch.save(tree if whole else tree.state_dict(), path, _use_new_zipfile_serialization=zipped)
    found = import_authors(path)
    assert same_state(found.model, model)
    assert (found.scales, found.dim, found.num_ids) == (settings.get("scales", (6, 4, 2)), 5, num_ids)
    assert found.backbone == settings.get("shape", TINY).name


def test_import_of_something_else_says_what_is_missing(tmp_path: Path):
    path = tmp_path / "x.pth"
    for state, expected in (
        (nn.Linear(2, 2).state_dict(), "'base.conv1.weight' is missing"),
        ({f"base.{k}": v for k, v in ResNet(TINY).state_dict().items()}, "no part units"),
        (tree_of(changed(state_for(tiny()), "missing")).state_dict(), "'rest_4_conv_list.2.0.weight' is missing"),
        ({"base.conv1.weight": torch.zeros(3)}, "'base.conv1.weight' is (3,), expected 4 sizes"),
        (
            {
                k: torch.from_numpy(v.astype("i1") if k == "base.conv1.weight" else v)
                for k, v in state_for(tiny()).items()
            },
            "it has whole numbers (int8) in base.conv1.weight, expected float32",
        ),
    ):
        torch.save(state, path)
        with pytest.raises(CheckpointError) as caught:
            import_authors(path)
        message = str(caught.value)
        assert message.startswith(f"{path} is not a checkpoint of the authors' RRID: ")
        assert expected in message
        assert "\n" not in message
