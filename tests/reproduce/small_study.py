"""A study of seconds: two rows that differ in the relation module, on a tiny network."""

from __future__ import annotations

from crosscam.reproduce.paper_rows import Budget

TINY = (
    "model.backbone=basic:stem=4,planes=4.4.8.8,out=4.4.8.8,depths=1.1.1.1",
    "model.dim=4",
    "data.height=96",
    "data.width=16",
    "data.batch_ids=4",
    "data.batch_images=2",
    "train.precision=fp32",
)
BUDGET = Budget("small", 1, TINY)
RELATION = ("gmp", "rm-gmp")
