"""The network against the authors' numbers, for the same parameters and inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parity_state import PARITY, authors_names, authors_state, feature_map, normalized_images
from torch import nn

from crosscam.models.authors import authors_names as names_of_model
from crosscam.models.authors import load_authors_state
from crosscam.models.backbones.build import build_backbone
from crosscam.models.backbones.resnet import ResNet, ResNetShape
from crosscam.models.rrid import RRID, RRIDModel

THIN = ResNetShape("bottleneck", (1, 1, 1, 1), 4, (2, 2, 2, 2), (8, 8, 8, 2048))
SCALES = (6, 4, 2)


def relative(actual: object, expected: object) -> float:
    """Largest difference, relative to the largest expected value."""
    expected = np.asarray(expected)
    return float(np.abs(np.asarray(actual) - expected).max() / np.abs(expected).max())


@pytest.fixture(scope="module")
def head_state() -> dict[str, np.ndarray]:
    return authors_state({k: s for k, s in authors_names().items() if not k.startswith("base.")})


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    with np.load(PARITY / "head.npz") as fixture:
        return dict(fixture)


def build_head(state: dict[str, np.ndarray], scales: tuple[int, ...] = SCALES) -> RRID:
    """RRID whose input is the feature map."""
    model = RRID(ResNet(THIN), 10, RRIDModel(scales=scales))
    base = {k: s for k, s in names_of_model(model).items() if k.startswith("base.")}
    load_authors_state(model, {**state, **authors_state(base)})
    model.backbone = nn.Identity()
    return model


def grouped_logits(logits: tuple[torch.Tensor, ...]) -> dict[str, np.ndarray]:
    """Our logits run scale by scale, (q, p, r, globals) in each; the fixture's run group by group."""
    groups: dict[str, list[torch.Tensor]] = {"local_rest": [], "local": [], "rest": [], "global": []}
    left = list(logits)
    for n in SCALES:
        for group, count in (("local_rest", n), ("local", n), ("rest", n), ("global", 3)):
            groups[group] += left[:count]
            left = left[count:]
    assert not left
    return {group: torch.stack(found).detach().numpy() for group, found in groups.items()}


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize(
    ("dtype", "suffix", "tolerance"), [(torch.float64, "_f64", 1e-9), (torch.float32, "", 2e-5)], ids=["f64", "f32"]
)
def test_head(head_state, expected, mode, dtype, suffix, tolerance):
    model = build_head(head_state).to(dtype).train(mode == "train")
    with torch.no_grad():
        output = model(torch.from_numpy(feature_map(8)).to(dtype))
    features = torch.stack(output.embeddings).numpy()
    assert relative(features, expected[f"n8_{mode}_features{suffix}"]) <= tolerance
    assert len(output.logits) == 45
    for group, logits in grouped_logits(output.logits).items():
        assert relative(logits, expected[f"n8_{mode}_logits_{group}{suffix}"]) <= tolerance, group


def statistic(model: RRID, name: str) -> torch.Tensor:
    """The authors' running statistic ``name`` in our model, by the table of names, part by part."""
    parent, i, _, kind = name.split(".")
    words = parent.removesuffix("_conv_list").split("_")
    branch = model.branches[SCALES.index(int(words[1]))]
    unit, part = {
        ("local",): (branch.local.part, int(i)),
        ("rest",): (branch.local.rest, int(i)),
        ("relation",): (branch.local.residual, int(i)),
        ("global", "max"): (branch.globe.project, 0),
        ("global", "rest"): (branch.globe.project, 1),
        ("global", "pooling"): (branch.globe.residual, 0),
    }[(words[0], *words[2:])]
    return getattr(unit.norm, kind)[part * 256 : (part + 1) * 256]


def test_running_statistics_after_one_training_step(head_state, expected):
    model = build_head(head_state).double().train()
    with torch.no_grad():
        model(torch.from_numpy(feature_map(8)).double())
    names = [str(name) for name in expected["n8_bn_keys"]]
    assert len(set(names)) == 2 * (3 * 12 + 3 * 3)
    for name, norm in zip(names, expected["n8_bn_norms"], strict=True):
        assert float(statistic(model, name).norm()) == pytest.approx(float(norm), rel=1e-9), name


def test_one_scale_of_the_checkpoint_alone(head_state, expected):
    model = build_head(head_state, scales=(6,)).double().eval()
    with torch.no_grad():
        output = model(torch.from_numpy(feature_map(8)).double())
    blocks = [0, 1, 2, 3, 4, 5, 12]
    assert relative(torch.stack(output.embeddings).numpy(), expected["n8_eval_features_f64"][blocks]) <= 1e-9


def test_resnet50_stage_by_stage():
    backbone = build_backbone("resnet50")
    names = {k: s for k, s in authors_names().items() if k.startswith("base.")}
    state = authors_state(names)
    backbone.load_state_dict({k.removeprefix("base."): torch.from_numpy(np.array(v)) for k, v in state.items()})
    found: dict[str, torch.Tensor] = {}

    def keep(name: str):
        # A copy: the ReLU behind a batch normalization works in place.
        return lambda module, inputs, output: found.__setitem__(name, output.clone())

    with np.load(PARITY / "backbone_stages.npz") as fixture:
        stages, shapes, numbers = (fixture[f"stage_{k}"] for k in ("names", "shapes", "mean_std_absmax"))
    for name in stages:
        getattr(backbone, name).register_forward_hook(keep(str(name)))
    with torch.no_grad():
        output = backbone.eval()(torch.from_numpy(normalized_images(2)))
    assert torch.equal(output, found["layer4"])
    for name, shape, (mean, std, absmax) in zip(stages, shapes, numbers, strict=True):
        stage = found[str(name)].double()
        assert tuple(stage.shape) == tuple(shape)
        actual = (float(stage.mean()), float(stage.std(correction=0)), float(stage.abs().max()))
        assert actual == pytest.approx((mean, std, absmax), abs=1e-5 * absmax), name
