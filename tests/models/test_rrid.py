from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from crosscam.models.backbones.build import build_backbone
from crosscam.models.backbones.resnet import ResNet
from crosscam.models.rrid import RRID, RRIDModel
from crosscam.models.stripes import pool_stripes
from small_models import TINY_SHAPE


def tiny(num_ids: int = 5, **settings: object) -> RRID:
    torch.manual_seed(0)
    if settings.get("relation", "") is None:  # the first row of Table 2
        settings = {**settings, "relation": "none", "local_features": False}
    return RRID(ResNet(TINY_SHAPE), num_ids, RRIDModel(**{"dim": 3, **settings}))


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 192, 32, generator=torch.Generator().manual_seed(1))


# Table 2 of the paper, row by row: global pooling, local pooling, relation, scales, length of the descriptor.
TABLE_2 = [
    ("gap", None, None, (6,), 256),
    ("none", "avg", "none", (6,), 1536),
    ("gap", "avg", "none", (6,), 1792),
    ("gmp", "max", "none", (6,), 1792),
    ("gmp", "max", "one_vs_rest", (6,), 1792),
    ("gap", "max", "one_vs_rest", (6,), 1792),
    ("gap+gmp", "max", "one_vs_rest", (6,), 1792),
    ("gcp", "max", "one_vs_rest", (6,), 1792),
    ("gmp", "max", "none", (6, 4, 2), 3840),
    ("gap", "max", "none", (6, 4, 2), 3840),
    ("gap+gmp", "max", "none", (6, 4, 2), 3840),
    ("gcp", "max", "none", (6, 4, 2), 3840),
    ("gcp", "max", "one_vs_rest", (6, 4, 2), 3840),
]


@pytest.mark.parametrize(("globe", "local", "relation", "scales", "length"), TABLE_2)
def test_rows_of_table_2(globe, local, relation, scales, length):
    model = tiny(scales=scales, relation=relation, local_pooling=local or "max", global_pooling=globe, dim=256).train()
    output = model(images())
    assert output.descriptor.shape == (2, length)
    assert [block.dim for block in model.layout] == [e.shape[1] for e in output.embeddings]
    assert all(logit.shape == (2, 5) for logit in output.logits)
    # Every parameter takes part: none is built and left unused.
    sum(e.sum() for e in (*output.embeddings, *output.logits)).backward()
    assert all(p.grad is not None for p in model.parameters())


SETTINGS = list(
    itertools.product(
        [(6, 4, 2), (2,)],
        ["one_vs_rest", "rest_only", "none", None],
        ["gcp", "gap", "none"],
        ["all", "descriptor"],
    )
)


@pytest.mark.parametrize(("scales", "relation", "globe", "classifiers"), SETTINGS)
def test_layout_covers_the_descriptor_without_gaps(scales, relation, globe, classifiers):
    settings = {"scales": scales, "relation": relation, "global_pooling": globe, "classifiers": classifiers}
    if relation is None and globe == "none":
        with pytest.raises(ValueError, match="describes nothing"):
            tiny(**settings)
        return
    with torch.device("meta"):
        model = tiny(**settings)
        output = model(torch.empty(2, 3, 192, 32))
    layout = model.layout
    assert [block.start for block in layout] == [0, *(block.stop for block in layout[:-1])]
    assert layout[-1].stop == output.descriptor.shape[1]
    assert len({block.name for block in layout}) == len(layout) == len(output.embeddings)
    for n in scales:
        stripes = [b for b in layout if b.num_parts == n and b.kind == "local"]
        assert len(stripes) == (0 if relation is None else n)
        edges = [edge for b in stripes for edge in b.rows]
        if stripes:
            assert edges[0] == 0
            assert edges[-1] == 1
            assert edges[1:-1:2] == edges[2:-1:2]
        whole = [b for b in layout if b.num_parts == n and b.kind == "global"]
        assert [b.rows for b in whole] == ([] if globe == "none" else [(0.0, 1.0)])
    local_groups = 0 if relation is None else 3 if classifiers == "all" and relation != "none" else 1
    global_groups = 0 if globe == "none" else 3 if classifiers == "all" and globe == "gcp" else 1
    assert len(output.logits) == sum(n * local_groups + global_groups for n in scales)


def test_lengths_and_classifiers_of_the_paper():
    with torch.device("meta"):
        for scales, length, everything, descriptor in (((6,), 1792, 21, 7), ((6, 4, 2), 3840, 45, 15)):
            for classifiers, count in (("all", everything), ("descriptor", descriptor)):
                model = tiny(scales=scales, classifiers=classifiers, dim=256)
                output = model(torch.empty(2, 3, 384, 128))
                assert (output.descriptor.shape[1], len(output.logits)) == (length, count)


def test_layout_in_the_order_of_the_authors_code():
    names = [block.name for block in tiny().layout]
    locals_ = [f"p{n}.local{i}" for n in (6, 4, 2) for i in range(1, n + 1)]
    assert names == [*locals_, "p6.global", "p4.global", "p2.global"]
    third = tiny().layout[2]
    assert third.rows == (2 / 6, 3 / 6)


def test_without_relation_a_block_sees_its_rows_alone():
    model = tiny(scales=(4, 2), relation="none", dim=16).eval()
    model.backbone = nn.Identity()
    feature_map = torch.rand(1, 8, 12, 2, requires_grad=True)
    output = model(feature_map)
    checked = 0
    for block, embedding in zip(model.layout, output.embeddings, strict=True):
        (grad,) = torch.autograd.grad(embedding.sum(), feature_map, retain_graph=True)
        rows = torch.nonzero(grad.abs().sum(dim=(0, 1, 3))).flatten().tolist()
        assert all(block.rows[0] * 12 <= row < block.rows[1] * 12 for row in rows)
        checked += len(rows)
    assert checked > 8


@pytest.mark.parametrize("relation", ["one_vs_rest", "none"])
def test_an_image_alone_is_its_row_of_the_batch(relation):
    model = tiny(relation=relation).double().eval()
    batch = images(4).double()
    together = model(batch)
    for i in range(4):
        alone = model(batch[i : i + 1])
        assert torch.allclose(alone.descriptor[0], together.descriptor[i], atol=1e-10)
        for one, all_ in zip(alone.logits, together.logits, strict=True):
            assert torch.allclose(one[0], all_[i], atol=1e-10)


def test_classifiers_change_nothing_in_the_descriptor():
    model, bare = tiny(num_ids=5).eval(), tiny(num_ids=0).eval()
    bare.load_state_dict({k: v for k, v in model.state_dict().items() if "classifiers" not in k})
    output = bare(images())
    assert output.logits == ()
    assert torch.equal(output.descriptor, model(images()).descriptor)


def test_logits_come_from_the_features_they_are_named_for():
    model = tiny(scales=(2,)).eval()
    model.backbone = nn.Identity()
    feature_map = torch.rand(3, 8, 4, 2)
    output = model(feature_map)
    branch = model.branches[0]
    local = branch.local(pool_stripes(feature_map, 2))
    globe = branch.globe(pool_stripes(feature_map, 2))
    features = [f for group in (local.q, local.p, local.r) for f in group.unbind(1)]
    features += [globe.q0, globe.p_max, globe.p_cont]
    layers = [
        (c.weight[p], c.bias[p])
        for group in (branch.local_classifiers, branch.global_classifiers)
        for c in group
        for p in range(len(c.weight))
    ]
    for logits, feature, (weight, bias) in zip(output.logits, features, layers, strict=True):
        assert torch.allclose(logits, feature @ weight + bias, atol=1e-6)


def test_bf16_autocast_stays_near_single_precision():
    model = tiny(dim=32).eval()
    single = model(images(4)).descriptor.detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(images(4))
    assert half.descriptor.dtype == torch.bfloat16
    cosine = torch.nn.functional.cosine_similarity(half.descriptor.detach().float(), single)
    assert float(cosine.min()) > 0.99
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(images(4)).descriptor.float().square().mean()
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_head_is_the_same_in_channels_last():
    model = tiny().eval()
    last = model(images().contiguous(memory_format=torch.channels_last))
    assert torch.allclose(last.descriptor, model(images()).descriptor, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"relation": "all_pairs"},
        {"local_pooling": "mean"},
        {"global_pooling": "gem"},
        {"contrast": "none"},
        {"classifiers": "some"},
        {"gamma_init": "zeros"},
    ],
)
def test_unknown_choices_are_refused(settings):
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=f"Unknown {name}='{value}'. Known: "):
        tiny(**settings)


@pytest.mark.parametrize("scales", [(), (6, 6), (1,), (0,)])
def test_scales_that_cannot_be_are_refused(scales):
    with pytest.raises(ValueError, match="different numbers of stripes, each at least 2"):
        tiny(scales=scales)


def test_one_stripe_needs_no_other_without_relation():
    model = tiny(scales=(1,), relation="none", global_pooling="gap")
    assert [block.name for block in model.layout] == ["p1.local1", "p1.global"]


def test_an_image_height_that_the_stripes_do_not_tile_is_refused():
    with pytest.raises(ValueError, match="16 x 12"):
        tiny().eval()(torch.randn(1, 3, 256, 32))


def test_the_networks_of_the_paper_have_the_authors_number_of_parameters():
    with torch.device("meta"):
        model = RRID(build_backbone("resnet50"), 751)
    unit = lambda inputs: inputs * 256 + 3 * 256  # noqa: E731
    head = 12 * (2 * unit(2048) + unit(512)) + 3 * (2 * unit(2048) + unit(512)) + 45 * (256 * 751 + 751)
    assert sum(p.numel() for p in model.parameters()) == 23_508_032 + head


def test_units_without_activation_and_contrast_of_means():
    """Without ReLU the features of a fresh network have both signs; GCP then sees the means of the stripes."""
    model = tiny(0, scales=(4, 2), local_pooling="avg", contrast_pooling="avg", activation="none").eval()
    photos = torch.randn(2, 3, 128, 32, generator=torch.Generator().manual_seed(1))
    found = model(photos)
    assert model.poolings == ("avg",)
    assert (found.descriptor < 0).any()
    assert (found.descriptor > 0).any()
    pooled = pool_stripes(model.backbone(photos), 4, "avg")
    torch.testing.assert_close(model.branches[0].globe(pooled).q0, found.embeddings[6])
    torch.testing.assert_close(model.branches[0].local(pooled).q[:, 1], found.embeddings[1])
