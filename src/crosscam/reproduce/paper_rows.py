"""The rows of the paper's tables as recipes, and the differences between rows that the paper argues with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from crosscam.errors import RecipeError
from crosscam.models.relation import Relation
from crosscam.models.rrid import RRIDModel
from crosscam.recipes.baseline_recipes import scaled_down
from crosscam.recipes.catalogue import RRID_F, RRID_S, find_recipe
from crosscam.recipes.choices import RRIDLoss
from crosscam.recipes.recipe import Recipe
from crosscam.recipes.settings import UnusedSettingError, with_settings
from crosscam.reproduce import published
from crosscam.reproduce.published import Scores
from crosscam.system.text import counted

Scale = Literal["paper", "small", "lite"]


@dataclass(frozen=True)
class Budget:
    """What every row of a study gets alike.

    Attributes:
        scale: ``"paper"``: the systems' own recipes; ``"small"``, and ``"lite"`` from ImageNet: the same systems at a
            size that a CPU trains, see :func:`crosscam.recipes.baseline_recipes.scaled_down`.
        epochs: of the small scales.
        overrides: settings, ``name=value`` each, that are changed in every recipe that has them.
    """

    scale: Scale = "paper"
    epochs: int = 10
    overrides: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.scale == "paper":
            size = "the systems' own recipes"
        else:
            network = "MobileNetV2 from ImageNet" if self.scale == "lite" else "half-width ResNet-18"
            size = f"{network}, {counted(self.epochs, 'epoch')}, one optimizer for all"
        return f"{size}; {', '.join(self.overrides)}" if self.overrides else size


@dataclass(frozen=True)
class Row:
    """One line of Table 1 or 2.

    Attributes:
        name: of the row and its folder; rows of one name stand in both tables and are trained once.
        label: as the table prints it.
        recipe, dim: at the paper's size; length of the descriptor as the table prints it.
        published: the paper's scores by dataset; empty for a row that the paper does not have.
        marks: further columns, by their heads.
    """

    name: str
    label: str
    recipe: Recipe
    dim: int
    published: Scores
    marks: Mapping[str, str]


@dataclass(frozen=True)
class Claim:
    """A gain of row ``better`` over row ``worse`` that the paper prints for Market-1501, in points of per cent."""

    text: str
    better: str
    worse: str
    mAP: float
    rank1: float


def _system(name: str, label: str, dim: int) -> Row:
    return Row(name, label, find_recipe(name), dim, published.TABLE1.get(name, {}), {})


TABLE1 = (
    _system("svdnet", "SVDNet", 2048),
    _system("trinet", "Triplet (TriNet)", 128),
    _system("hacnn", "HA-CNN", 1024),
    _system("deep-person", "Deep-Person", 2048),
    _system("aligned-reid", "AlignedReID", 2048),
    _system("pcb", "PCB", 1536),
    _system("pcb-rpp", "PCB+RPP", 1536),
    _system("hpm", "HPM", 3840),
    _system("mgn", "MGN", 2048),
    _system("bot", "Bag of tricks (not in the paper)", 2048),
    _system("rrid-s", "Ours-S (RRID-S)", 1792),
    _system("rrid-f", "Ours-F (RRID-F)", 3840),
)


def _ablation(name: str, model: RRIDModel, dim: int) -> Row:
    base = RRID_F if len(model.scales) > 1 else RRID_S
    recipe = base
    if model != base.model:
        loss = replace(RRIDLoss(), cross_entropy_weight=_equal_share(model))
        recipe = replace(base, name=name, description=f"Table 2: {name}.", model=model, loss=loss)
    has_global, has_local = model.global_pooling != "none", model.local_features
    relation = {"one_vs_rest": "✓", "rest_only": "R_p(r_i)", "none": ""}[model.relation]
    local = {"avg": "GAP", "max": "GMP"}[model.local_pooling]
    marks = {
        "GF": "✓" if has_global else "",
        "LF": "✓" if has_local else "",
        "RM": relation if has_local else "",
        "Ext.": "✓" if len(model.scales) > 1 else "",
        "pooling GF": model.global_pooling.upper() if has_global else "-",
        "pooling LF": local if has_local else "-",
    }
    # A row that stands in both tables has one label.
    label = next((row.label for row in TABLE1 if row.name == name), name)
    return Row(name, label, recipe, dim, published.TABLE2[name], marks)


def _equal_share(model: RRIDModel) -> float:
    """lambda for a row, such that the cross-entropy weighs as much for each feature of the descriptor as in RRID.

    RRID has three classifiers for each feature, a row without a part of it only one: with one lambda for all, it would
    also be classified less.
    """
    features, classifiers = 0, 0
    for num_parts in model.scales:
        if model.local_features:
            features += num_parts
            classifiers += num_parts * (1 if model.relation == "none" else 3)
        if model.global_pooling != "none":
            features += 1
            classifiers += 3 if model.global_pooling == "gcp" else 1
    return round(RRIDLoss().cross_entropy_weight * 3 * features / classifiers, 4)


ONE, THREE = (6,), (6, 4, 2)


def _one(pooling: str, relation: Relation) -> RRIDModel:
    return RRIDModel(scales=ONE, relation=relation, global_pooling=pooling)  # type: ignore[arg-type]


def _ext(pooling: str) -> RRIDModel:
    return RRIDModel(scales=THREE, relation="none", global_pooling=pooling)  # type: ignore[arg-type]


TABLE2 = (
    _ablation("gf-gap", RRIDModel(scales=ONE, local_features=False, relation="none", global_pooling="gap"), 256),
    _ablation("lf-gap", RRIDModel(scales=ONE, relation="none", local_pooling="avg", global_pooling="none"), 1536),
    _ablation("gap", RRIDModel(scales=ONE, relation="none", local_pooling="avg", global_pooling="gap"), 1792),
    _ablation("gmp", _one("gmp", "none"), 1792),
    _ablation("rm-gmp", _one("gmp", "one_vs_rest"), 1792),
    _ablation("rm-gap", _one("gap", "one_vs_rest"), 1792),
    _ablation("rm-gap+gmp", _one("gap+gmp", "one_vs_rest"), 1792),
    _ablation("rrid-s", RRID_S.model, 1792),  # type: ignore[arg-type]
    _ablation("ext-gmp", _ext("gmp"), 3840),
    _ablation("ext-gap", _ext("gap"), 3840),
    _ablation("ext-gap+gmp", _ext("gap+gmp"), 3840),
    _ablation("ext-gcp", _ext("gcp"), 3840),
    _ablation("rrid-f", RRID_F.model, 3840),  # type: ignore[arg-type]
    _ablation("rest-gmp", _one("gmp", "rest_only"), 1792),
)

CLAIMS = (
    Claim("one-vs.-rest relation module", "rm-gmp", "gmp", 3.0, 1.0),
    Claim("T(p_i, r_i) rather than r_i alone", "rm-gmp", "rest-gmp", 2.2, 0.8),
    Claim("GCP rather than GAP+GMP", "rrid-s", "rm-gap+gmp", 1.4, 0.5),
    Claim("GCP rather than GMP", "rrid-s", "rm-gmp", 1.3, 0.6),
    Claim("GCP rather than GAP", "rrid-s", "rm-gap", 2.2, 0.7),
    Claim("relation module at three scales", "rrid-f", "ext-gcp", 1.6, 0.7),
    Claim("three scales rather than one", "rrid-f", "rrid-s", 0.9, 0.4),
)

ROWS: dict[str, Row] = {row.name: row for row in (*TABLE1, *TABLE2)}


def recipe_of(row: Row, budget: Budget, seed: int) -> Recipe:
    """The recipe of a row, without overrides that its system has no use for; RecipeError for one that does not fit."""
    recipe, _ = _overridden(row, budget)
    return with_settings(recipe, [f"train.seed={seed}"])


def skipped_overrides(row: Row, budget: Budget) -> list[str]:
    """The overrides that a row's system has no use for."""
    return _overridden(row, budget)[1]


def check_overrides(rows: Sequence[Row], budget: Budget) -> None:
    """Refuse (RecipeError) an override that does not fit a row that has the setting, or that no row has."""
    skipped = []
    for row in rows:
        try:
            skipped.append(set(skipped_overrides(row, budget)))
        except RecipeError as error:
            raise RecipeError(f"Row {row.name}: {error}") from error
    nowhere = [o for o in budget.overrides if skipped and all(o in s for s in skipped)]
    if nowhere:
        try:
            _ = with_settings(rows[0].recipe, [nowhere[0]])
        except RecipeError as error:
            why = f" {error}"
        else:
            why = ""
        names = ", ".join(r.name for r in rows)
        raise RecipeError(f"--recipe-override {nowhere[0]} changes nothing in any row ({names}).{why}")


def _overridden(row: Row, budget: Budget) -> tuple[Recipe, list[str]]:
    scale, kept = budget.scale, list(budget.overrides)
    recipe = row.recipe if scale == "paper" else scaled_down(row.recipe, budget.epochs, imagenet=scale == "lite")
    while True:
        # All at once: one override may be what gives another its effect.
        try:
            return with_settings(recipe, kept, once=True), [o for o in budget.overrides if o not in kept]
        except UnusedSettingError as error:
            kept = [o for o in kept if o.partition("=")[0] != error.setting]
