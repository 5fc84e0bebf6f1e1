"""The rows against the paper's tables."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from crosscam.errors import RecipeError
from crosscam.models.systems import layout_of
from crosscam.recipes.baseline_recipes import scaled_down
from crosscam.reproduce import published
from crosscam.reproduce.paper_rows import (
    CLAIMS,
    ROWS,
    TABLE1,
    TABLE2,
    Budget,
    Row,
    check_overrides,
    recipe_of,
    skipped_overrides,
)

# The F-dim columns of Tables 1 and 2, read off the paper once more; "bot" and "rest-gmp" are not in them.
F_DIM_1 = {
    "svdnet": 2048,
    "trinet": 128,
    "hacnn": 1024,
    "deep-person": 2048,
    "aligned-reid": 2048,
    "pcb": 1536,
    "pcb-rpp": 1536,
    "hpm": 3840,
    "mgn": 2048,
    "rrid-s": 1792,
    "rrid-f": 3840,
}
F_DIM_2 = [256, 1536, 1792, 1792, 1792, 1792, 1792, 1792, 3840, 3840, 3840, 3840, 3840]


def length(row: Row) -> int:
    with torch.device("meta"):
        return layout_of(row.recipe.model.build(0))[-1].stop


def test_descriptors_are_as_long_as_in_table_1() -> None:
    built = {row.name: length(row) for row in TABLE1}
    assert built.pop("bot") == 2048
    assert built == F_DIM_1
    assert {row.name: row.dim for row in TABLE1 if row.name != "bot"} == F_DIM_1


def test_descriptors_are_as_long_as_in_table_2() -> None:
    *printed, rest_only = TABLE2
    assert [length(row) for row in printed] == F_DIM_2
    assert [row.dim for row in printed] == F_DIM_2
    assert length(rest_only) == rest_only.dim == 1792


def test_the_rows_of_table_2_use_what_their_marks_say() -> None:
    marks = [tuple(row.marks.values()) for row in TABLE2]
    assert marks[0] == ("✓", "", "", "", "GAP", "-")
    assert marks[1] == ("", "✓", "", "", "-", "GAP")
    assert marks[2] == ("✓", "✓", "", "", "GAP", "GAP")
    assert marks[3] == ("✓", "✓", "", "", "GMP", "GMP")
    assert [m[4] for m in marks[4:8]] == ["GMP", "GAP", "GAP+GMP", "GCP"]
    assert all(m[2] == "✓" and m[3] == "" for m in marks[4:8])
    assert [m[4] for m in marks[8:12]] == ["GMP", "GAP", "GAP+GMP", "GCP"]
    assert all(m[2] == "" and m[3] == "✓" for m in marks[8:12])
    assert marks[12] == ("✓", "✓", "✓", "✓", "GCP", "GMP")
    assert marks[13][2] == "R_p(r_i)"


def test_rows_of_both_tables_are_one() -> None:
    assert ROWS["rrid-s"].recipe is next(r for r in TABLE1 if r.name == "rrid-s").recipe
    assert ROWS["rrid-s"].marks
    assert len(ROWS) == len(TABLE1) + len(TABLE2) - 2


def test_rows_of_table_2_differ_from_the_full_model_in_the_model_and_lambda_alone() -> None:
    for row in TABLE2:
        full = ROWS["rrid-f" if row.dim == 3840 else "rrid-s"].recipe
        assert dataclasses.replace(
            row.recipe, name="", description="", model=full.model, loss=full.loss
        ) == dataclasses.replace(full, name="", description="")
        weight = full.loss.cross_entropy_weight
        assert dataclasses.replace(row.recipe.loss, cross_entropy_weight=weight) == full.loss


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.text)
def test_a_claim_is_the_difference_of_the_printed_scores(claim: object) -> None:
    market = {row.name: row.published[published.MARKET] for row in TABLE2}
    better, worse = market[claim.better], market[claim.worse]
    assert claim.mAP == pytest.approx(better.mAP - worse.mAP, abs=1e-9)
    assert claim.rank1 == pytest.approx(better.rank1 - worse.rank1, abs=1e-9)


def test_the_printed_means_of_table_3_are_the_papers() -> None:
    """The text gives the mean gains: 21.7 and 19.6 points."""
    pairs = list(zip(published.TABLE3_WITH, published.TABLE3_WITHOUT, strict=True))
    assert sum(a.mAP - b.mAP for a, b in pairs) / 6 == pytest.approx(21.7, abs=0.1)
    assert sum(a.rank1 - b.rank1 for a, b in pairs) / 6 == pytest.approx(19.6, abs=0.1)


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda r: r.name)
def test_every_row_has_a_small_recipe_with_the_same_budget(row: Row) -> None:
    recipe = recipe_of(row, Budget("small", 8, ("optim.weight_decay=0.01",)), 3)
    assert (recipe.train.epochs, recipe.train.seed, recipe.optim.weight_decay) == (8, 3, 0.01)
    assert recipe.data.batch_ids * recipe.data.batch_images == 64
    assert recipe_of(row, Budget("paper", 8, ()), 3).train.epochs == row.recipe.train.epochs


def test_the_classification_weighs_as_much_for_each_feature_in_every_row() -> None:
    for row in TABLE2:
        model = row.recipe.model.build(10)
        with torch.no_grad():
            output = model.eval()(torch.zeros(1, 3, 96 if len(row.recipe.model.scales) == 1 else 192, 32))
        share = row.recipe.loss.cross_entropy_weight * len(output.logits) / len(output.embeddings)
        assert share == pytest.approx(6.0, abs=1e-3), row.name


def test_overrides_that_need_each_other_count_in_any_order() -> None:
    overrides = ("schedule.warmup_start=0.3", "schedule.warmup_epochs=2", "model.whiten=false", "model.project=16")
    for given in (overrides, overrides[::-1]):
        assert skipped_overrides(ROWS["rrid-s"], Budget("paper", 8, given)) == []
        recipe = recipe_of(ROWS["rrid-s"], Budget("paper", 8, given), 0)
        assert (recipe.schedule.warmup_start, recipe.schedule.warmup_epochs) == (0.3, 2.0)
    assert skipped_overrides(ROWS["pcb"], Budget("paper", 8, overrides)) == ["model.whiten=false", "model.project=16"]


def test_frozen_stages_are_left_out_where_a_network_has_none() -> None:
    assert [row.name for row in TABLE1 if skipped_overrides(row, Budget("small", 8, ("train.frozen_stages=2",)))] == [
        "hacnn",
    ]


def test_an_override_that_a_system_lacks_is_left_out_and_told() -> None:
    overrides = ("model.pretrained=none", "loss.margin=0.7", "data.batch_ids=8")
    assert skipped_overrides(ROWS["hacnn"], Budget("small", 8, overrides)) == [
        "model.pretrained=none",
        "loss.margin=0.7",
    ]
    assert skipped_overrides(ROWS["pcb"], Budget("small", 8, overrides)) == ["loss.margin=0.7"]
    assert skipped_overrides(ROWS["rrid-s"], Budget("small", 8, overrides)) == []
    recipe = recipe_of(ROWS["hacnn"], Budget("small", 8, overrides), 0)
    assert recipe.data.batch_ids == 8
    check_overrides(TABLE1, Budget("small", 8, overrides))


def test_all_rows_are_checked_before_one_is_trained() -> None:
    with pytest.raises(RecipeError, match=r"model\.paint=red changes nothing in any row"):
        check_overrides(TABLE1, Budget("small", 8, ("data.batch_ids=8", "model.paint=red")))
    with pytest.raises(RecipeError, match=r"Row deep-person: .*model\.num_parts"):
        check_overrides([ROWS["rrid-s"], ROWS["deep-person"]], Budget("small", 8, ("model.num_parts=7",)))


def test_another_optimiser_is_chosen_before_its_settings() -> None:
    recipe = recipe_of(ROWS["rrid-s"], Budget("small", 8, ("optim.momentum=0.5", "optim.name=sgd")), 0)
    assert (recipe.optim.name, recipe.optim.momentum) == ("sgd", 0.5)


@pytest.mark.parametrize("epochs", range(1, 30))
def test_svdnets_small_plan_has_a_base_phase_at_any_length(epochs: int) -> None:
    plan = scaled_down(ROWS["svdnet"].recipe, epochs).model.plan
    assert plan.base >= 1
    assert plan.epochs == epochs
    assert plan.iterations >= 1 or epochs < 3


def test_figure_4_and_the_tables_say_ours() -> None:
    assert [ROWS[name].label[:6] for name in ("rrid-s", "rrid-f")] == ["Ours-S", "Ours-F"]
