from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import crosscam
from crosscam.data.images import resize_image
from crosscam.data.resizing import prepare
from crosscam.errors import CrosscamError, ImageError
from crosscam.explain.activation import activation_maps, place_contributions
from crosscam.explain.pair import explain_pair
from crosscam.recipes.baseline_recipes import SYSTEM_RECIPES, scaled_down
from crosscam.recipes.catalogue import build_model
from crosscam.retrieval.contributions import block_weights
from small_models import tiny_rrid


@pytest.fixture(scope="module")
def extractor():
    return crosscam.Extractor(*tiny_rrid())


@pytest.fixture(scope="module")
def two():
    return np.random.default_rng(0).integers(0, 256, (2, 50, 20, 3), dtype=np.uint8)


def test_the_blocks_sum_to_the_squared_distance_of_the_descriptors(extractor, two):
    pair = explain_pair(extractor, *two)
    q, m = extractor(two).astype(np.float64)
    assert pair.squared_distance == pytest.approx(np.square(q - m).sum(), rel=1e-12)
    assert pair.distance == pytest.approx(np.linalg.norm(q - m), rel=1e-5)
    assert abs(pair.deviation) < 1e-6
    assert sum(part.share for part in pair.blocks) == pytest.approx(1)
    assert [part.block for part in pair.blocks] == list(extractor.layout)
    naive = [sum((q[d] - m[d]) ** 2 for d in range(b.start, b.stop)) for b in extractor.layout]
    np.testing.assert_allclose([part.squared_distance for part in pair.blocks], naive, rtol=1e-9)


def test_maps_are_there_for_each_block_and_image(extractor, two):
    pair = explain_pair(extractor, *two)
    for maps in (pair.query_maps, pair.match_maps):
        assert maps.shape == (len(extractor.layout), 6, 2)
        assert maps.min() == 0
        assert (maps.max(axis=(1, 2)) == 1).all()
    other = explain_pair(extractor, *two, maps_of="agreement")
    assert not np.array_equal(pair.query_maps, other.query_maps)
    # Turned round, the pair has the same distance and the maps change places.
    turned = explain_pair(extractor, *two[::-1], maps_of="agreement")
    assert turned.squared_distance == pytest.approx(other.squared_distance)
    np.testing.assert_allclose(turned.match_maps, other.query_maps, atol=1e-5)


@pytest.mark.parametrize("flip", [False, True])
def test_maps_are_of_the_descriptor_that_is_compared(two, flip):
    model, recipe = tiny_rrid()
    extractor = crosscam.Extractor(model, recipe, flip=flip)
    pixels = np.stack([resize_image(image, 96, 32) for image in two])
    batch = prepare(torch.from_numpy(pixels), 96, 32)
    others = torch.from_numpy(extractor(two)).flip(0)
    for maps_of, reference in (("strength", None), ("agreement", others)):
        pair = explain_pair(extractor, *two, maps_of=maps_of)
        wanted = activation_maps(place_contributions(model, batch, extractor.layout, flip=flip, reference=reference))
        np.testing.assert_allclose(np.stack((pair.query_maps, pair.match_maps)), wanted, atol=1e-5)


def test_an_image_against_itself(extractor, two):
    pair = explain_pair(extractor, two[0], two[0])
    assert (pair.distance, pair.squared_distance) == (0, 0)
    assert all(part.share == 0 for part in pair.blocks)


def test_weights_change_the_sum_and_the_distance_alike(extractor, two):
    plain = explain_pair(extractor, *two)
    pair = explain_pair(extractor, *two, weights={"p3.*": 0, "p3.local2": 2.5, "*global": 4})
    by_name = {part.block.name: part for part in pair.blocks}
    assert by_name["p3.local1"].squared_distance == 0
    for old in plain.blocks:
        factor = {"p3.local1": 0, "p3.local3": 0, "p3.local2": 2.5}.get(
            old.block.name, 4 if "global" in old.block.name else 1
        )
        assert by_name[old.block.name].squared_distance == pytest.approx(factor * old.squared_distance)
    assert pair.distance**2 == pytest.approx(pair.squared_distance, rel=1e-5)


def test_weights_of_parts_are_those_of_a_search(extractor, two):
    pair = explain_pair(extractor, *two, weights={"torso": 2, "p3.local1": 0})
    assert [part.weight for part in pair.blocks] == list(block_weights({"torso": 2, "p3.local1": 0}, extractor.layout))
    with pytest.raises(CrosscamError, match=r"No body part or block 'p3.locl1'. Did you mean p3.local1"):
        explain_pair(extractor, *two, weights={"p3.locl1": 1})


@pytest.mark.parametrize("recipe", [scaled_down(r, 8) for r in SYSTEM_RECIPES], ids=[r.name for r in SYSTEM_RECIPES])
def test_every_system_can_be_explained(recipe, two):
    pair = explain_pair(crosscam.Extractor(build_model(recipe, num_ids=0), recipe), *two)
    assert abs(pair.deviation) < 1e-6
    assert (pair.query_maps is None) == (recipe.model.system in ("hacnn", "transreid"))


def test_it_goes_into_json(extractor, two, tmp_path):
    content = json.loads(json.dumps(explain_pair(extractor, *two, weights={"p2.local1": 3}).to_dict()))
    assert content["query"] == "array"
    assert set(content["blocks"][0]) == {"name", "rows", "scale", "kind", "weight", "squared_distance", "share"}
    assert sum(b["squared_distance"] for b in content["blocks"]) == pytest.approx(content["squared_distance"])
    assert content["check"]["sum_of_blocks"] == content["squared_distance"]
    assert [b["weight"] for b in content["blocks"] if b["name"] == "p2.local1"] == [3]


def test_an_image_that_is_missing(extractor, two, tmp_path):
    with pytest.raises(ImageError, match="gone"):
        explain_pair(extractor, tmp_path / "gone.jpg", two[0])
