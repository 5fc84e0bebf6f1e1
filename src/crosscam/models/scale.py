"""One scale of RRID: its stripes, what they give, and their classifiers; and all scales at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from torch import Tensor, nn

from crosscam.models.grouped import grouped_linear, grouped_units
from crosscam.models.parts import GammaInit, LocalPooling, PartLinear, merge_stripes, part_classifiers, pool_stripes
from crosscam.models.pooling import Contrast, GlobalContrastivePooling, GlobalOutput, GlobalPooling, PooledFeature
from crosscam.models.relation import Relation, RelationModule, RelationOutput, one_vs_rest_mean

Classifiers = Literal["all", "descriptor"]
# (B, F, C) stripes, by how they were pooled; F is a multiple of a scale's number.
Cells = Mapping[LocalPooling, Tensor]


@dataclass(frozen=True)
class ScaleOutput:
    """What one scale gives: local features (B, c) top to bottom, global features (none or one), logits (B, K)."""

    local_features: tuple[Tensor, ...]
    global_features: tuple[Tensor, ...]
    logits: tuple[Tensor, ...]


class ScaleBranch(nn.Module):
    """Stripes of one scale: local relational features, a global feature, and their classifiers.

    Args:
        num_parts: P, number of stripes.
        in_features: C of the feature map.
        dim: c, length of each feature.
        num_ids: K; 0 for no classifiers.
        relation, local_pooling, global_pooling, contrast, gamma_init: see the modules of those names;
            ``relation=None`` leaves the local features out (Table 2, first row).
        classifiers: ``"all"``: one for each projected feature, as in the authors' code (3P + 3 with relation and
            GCP); ``"descriptor"``: one for each feature of the descriptor, as in eq. (5).
    """

    def __init__(
        self,
        num_parts: int,
        in_features: int,
        dim: int,
        num_ids: int,
        *,
        relation: Relation | None = "one_vs_rest",
        local_pooling: LocalPooling = "max",
        global_pooling: GlobalPooling = "gcp",
        contrast: Contrast = "rest_mean",
        classifiers: Classifiers = "all",
        gamma_init: GammaInit = "ones",
    ) -> None:
        super().__init__()
        self.num_parts = num_parts
        self.local_pooling = local_pooling
        self.local = None
        if relation is not None:
            self.local = RelationModule(num_parts, in_features, dim, relation, gamma_init)
        self.globe: GlobalContrastivePooling | PooledFeature | None = None
        if global_pooling == "gcp":
            self.globe = GlobalContrastivePooling(num_parts, in_features, dim, contrast, gamma_init)
        elif global_pooling != "none":
            self.globe = PooledFeature(in_features, dim, global_pooling, gamma_init)
        everything = classifiers == "all"
        local_groups = 0 if relation is None else 3 if everything and relation != "none" else 1
        global_groups = 0 if global_pooling == "none" else 3 if everything and global_pooling == "gcp" else 1
        self.local_classifiers = nn.ModuleList(
            part_classifiers(num_parts, dim, num_ids) for _ in range(local_groups if num_ids else 0)
        )
        self.global_classifiers = nn.ModuleList(
            part_classifiers(1, dim, num_ids) for _ in range(global_groups if num_ids else 0)
        )

    def forward(self, feature_map: Tensor, cells: Cells | None = None) -> ScaleOutput:
        """(B, C, H, W) feature map, and stripes that are pooled already -> features and logits of this scale."""
        if cells is None:
            cells = {kind: pool_stripes(feature_map, self.num_parts, kind) for kind in self.poolings}
        stripes = {kind: merge_stripes(cells[kind], self.num_parts, kind) for kind in self.poolings}
        local, globe = RelationOutput(q=feature_map), None
        if self.local is not None:
            local = self.local(stripes[self.local_pooling])
        if isinstance(self.globe, GlobalContrastivePooling):
            globe = self.globe.of_stripes(stripes["max"])
        elif self.globe is not None:
            globe = self.globe(feature_map)
        asked = self.to_classify(local, globe)
        return self.output(local, globe, [classify(features) for classify, features in asked])

    @property
    def poolings(self) -> tuple[LocalPooling, ...]:
        """How stripes must be pooled for this branch."""
        kinds: set[LocalPooling] = {self.local_pooling} if self.local is not None else set()
        return tuple(sorted(kinds | ({"max"} if isinstance(self.globe, GlobalContrastivePooling) else set())))

    def to_classify(self, local: RelationOutput, globe: GlobalOutput | None) -> list[tuple[PartLinear, Tensor]]:
        """The classifiers with their (B, P, c) features."""
        pairs = list(zip(self.local_classifiers, (local.q, local.p, local.r), strict=False))
        if globe is not None:
            whole = [None if f is None else f.unsqueeze(1) for f in (globe.q0, globe.p_max, globe.p_cont)]
            pairs += zip(self.global_classifiers, whole, strict=False)
        return [(cast(PartLinear, classify), features) for classify, features in pairs if features is not None]

    def output(self, local: RelationOutput, globe: GlobalOutput | None, logits: Sequence[Tensor]) -> ScaleOutput:
        """What was found, one tensor for each part."""
        return ScaleOutput(
            local.q.unbind(dim=1) if self.local is not None else (),
            (globe.q0,) if globe is not None else (),
            tuple(one for part in logits for one in part.unbind(dim=1)),
        )


def together(branches: Sequence[ScaleBranch], cells: Cells) -> list[ScaleOutput]:
    """All branches at once, with relation and GCP: what :meth:`ScaleBranch.forward` gives, in three products."""
    parts = [merge_stripes(cells[b.local_pooling], b.num_parts, b.local_pooling) for b in branches]
    locals_ = [cast(RelationModule, b.local) for b in branches]
    globes = [cast(GlobalContrastivePooling, b.globe) for b in branches]
    contrasted = [g.contrasted(merge_stripes(cells["max"], g.num_parts)) for g in globes]
    n = len(branches)
    projected = grouped_units(
        [*(m.part for m in locals_), *(m.rest for m in locals_), *(g.project for g in globes)],
        [*parts, *map(one_vs_rest_mean, parts), *contrasted],
    )
    p, r, both = projected[:n], projected[n : 2 * n], projected[2 * n :]
    evidence = [m.evidence(*pair) for m, pair in zip(locals_, zip(p, r, strict=True), strict=True)]
    seen = [b.flatten(1).unsqueeze(1) for b in both]
    if evidence[0].shape[2] == seen[0].shape[2]:
        added = grouped_units([*(m.residual for m in locals_), *(g.residual for g in globes)], [*evidence, *seen])
    else:
        added = grouped_units([m.residual for m in locals_], evidence)
        added += grouped_units([g.residual for g in globes], seen)
    local = [RelationOutput(q=p[k] + added[k], p=p[k], r=r[k], added=added[k]) for k in range(n)]
    globe = [
        GlobalOutput(both[k][:, 0] + added[n + k].squeeze(1), p_max=both[k][:, 0], p_cont=both[k][:, 1])
        for k in range(n)
    ]
    asked = [b.to_classify(*pair) for b, pair in zip(branches, zip(local, globe, strict=True), strict=True)]
    flat = [one for some in asked for one in some]
    logits = iter(grouped_linear([c for c, _ in flat], [f for _, f in flat]) if flat else [])
    return [b.output(local[k], globe[k], [next(logits) for _ in asked[k]]) for k, b in enumerate(branches)]
