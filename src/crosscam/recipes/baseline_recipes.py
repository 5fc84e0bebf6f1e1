"""Recipes of the systems that the paper compares with (Table 1), and of a strong plain baseline.

Each follows its own paper, or its authors' code where that is what could be read; where both are silent, the comment
says so. ``scaled_down`` gives the same systems at a size that a CPU trains, all with one budget.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from crosscam.data.augment import Augment
from crosscam.models.baselines.aligned_reid import AlignedReIDModel
from crosscam.models.baselines.bot import BoTModel
from crosscam.models.baselines.deep_person import DeepPersonModel
from crosscam.models.baselines.hacnn import HACNNModel
from crosscam.models.baselines.hpm import HPMModel
from crosscam.models.baselines.mgn import MGNModel
from crosscam.models.baselines.osnet import OSNetModel
from crosscam.models.baselines.pcb import PCBModel
from crosscam.models.baselines.svdnet import RestraintRelaxation, SVDNetModel
from crosscam.models.baselines.transreid import TransReIDModel
from crosscam.models.baselines.trinet import TriNetModel
from crosscam.recipes.choices import (
    SGD,
    Adam,
    AdamW,
    AlignedReIDLoss,
    BNNeckLoss,
    ClassificationLoss,
    Cosine,
    Exponential,
    MGNLoss,
    RRIDLoss,
    SoftMarginLoss,
    Steps,
    TransReIDLoss,
)
from crosscam.recipes.recipe import Data, Evaluation, Recipe, Train

FLIP_ONLY = Augment(erase="none")
# Random erasing as its own paper has it, by ImageNet's mean (Luo et al. 2019, "Random erasing augmentation").
BOT_AUGMENT = Augment(
    erase="correct", erase_probability=0.5, erase_area=(0.02, 0.4), erase_fill="mean", shift_pixels=10
)

# Silent: dropout's place, first weights. Descriptor after the 256-number layers, as 1,536 in Table 1.
PCB = Recipe(
    name="pcb",
    description="PCB (Sun et al. 2018): six stripes, a classifier each; 1,536 numbers.",
    data=Data(sampler="shuffled", augment=FLIP_ONLY),
    model=PCBModel(),
    loss=ClassificationLoss(),
    optim=SGD(lr_backbone=0.01, lr_head=0.1, nesterov=True),
    schedule=Steps(milestones=(41,)),
    train=Train(epochs=60),
)
# The paper gives ten epochs to refined pooling in all; half of them for the assignment alone is our choice.
PCB_RPP = replace(
    PCB,
    name="pcb-rpp",
    description="PCB with refined part pooling (Sun et al. 2018): soft stripes in three stages; 1,536 numbers.",
    model=PCBModel(refined=True, stripe_epochs=60, assignment_epochs=5),
    train=Train(epochs=70),
)
# The settings of PCB, on which HPM builds; its own were not at hand.
HPM = Recipe(
    name="hpm",
    description="HPM (Fu et al. 2019): 1, 2, 4 and 8 stripes, average plus maximum; 3,840 numbers.",
    data=Data(sampler="shuffled", augment=FLIP_ONLY),
    model=HPMModel(),
    loss=ClassificationLoss(),
    optim=SGD(lr_backbone=0.01, lr_head=0.1),
    schedule=Steps(milestones=(41,)),
    train=Train(epochs=60),
)
# Silent: how the two terms of the loss are weighed.
MGN = Recipe(
    name="mgn",
    description="MGN (Wang et al. 2018): three branches with 1, 2 and 3 stripes; 2,048 numbers.",
    data=Data(sampler="identities", augment=FLIP_ONLY),
    model=MGNModel(),
    loss=MGNLoss(margin=1.2),
    optim=SGD(lr_backbone=0.01, lr_head=0.01),
    schedule=Steps(milestones=(41, 61)),
)
BOT = Recipe(
    name="bot",
    description="Bag of tricks (Luo et al. 2019): a plain ResNet-50 with a normalization neck; 2,048 numbers.",
    data=Data(height=256, sampler="identities", augment=BOT_AUGMENT),
    model=BoTModel(),
    loss=BNNeckLoss(margin=0.3, cross_entropy_weight=1.0, label_smoothing=0.1),
    optim=Adam(lr_backbone=3.5e-4, lr_head=3.5e-4),
    schedule=Steps(milestones=(41, 71), warmup_epochs=10),
    train=Train(epochs=120),
)
# The authors' 25,000 iterations with P = 18 are about 140 epochs of Market-1501; the paper tests on five crops, too.
TRINET = Recipe(
    name="trinet",
    description="TriNet (Hermans et al. 2017): batch-hard triplets with a soft margin, no classifier; 128 numbers.",
    data=Data(height=256, sampler="identities", batch_ids=18, augment=Augment(erase="none", shift=0.06)),
    model=TriNetModel(),
    loss=SoftMarginLoss(),
    optim=Adam(lr_backbone=3e-4, lr_head=3e-4, weight_decay=0.0),
    schedule=Exponential(constant_epochs=84),
    train=Train(epochs=140),
)
# The authors' 300 epochs show every identity once, with four images: a fifth of what an epoch shows here.
ALIGNED_REID = Recipe(
    name="aligned-reid",
    description="AlignedReID++ (Luo et al. 2019): stripes matched by a shortest path in training; 2,048 numbers.",
    data=Data(height=256, sampler="identities", batch_ids=8, augment=Augment(erase="none", shift=0.06)),
    model=AlignedReIDModel(),
    loss=AlignedReIDLoss(margin=0.3, cross_entropy_weight=1.0, label_smoothing=0.1),
    optim=Adam(lr_backbone=2e-4, lr_head=2e-4),
    schedule=Steps(milestones=(33,)),
    train=Train(epochs=64),
)
# The authors restart the learning rate in every phase and decompose seven times; here one schedule runs over all.
SVDNET = Recipe(
    name="svdnet",
    description="SVDNet (Sun et al. 2017): an Eigenlayer, decomposed, held and freed in turn; 2,048 numbers.",
    data=Data(height=224, width=224, sampler="shuffled", batch_ids=8, augment=FLIP_ONLY),
    model=SVDNetModel(),
    loss=ClassificationLoss(),
    optim=SGD(lr_backbone=1e-3, lr_head=1e-3),
    schedule=Steps(milestones=(201,)),
    train=Train(epochs=340),
)
DEEP_PERSON = Recipe(
    name="deep-person",
    description="Deep-Person (Bai et al. 2017): the body as a sequence, read by an LSTM; 2,048 numbers.",
    data=Data(
        height=256, sampler="identities", batch_ids=8, batch_images=16, augment=Augment(erase="none", shift=0.06)
    ),
    model=DeepPersonModel(),
    loss=RRIDLoss(margin=0.5, cross_entropy_weight=1.0, triplet_on="descriptor"),
    optim=Adam(lr_backbone=3e-4, lr_head=3e-4),
    schedule=Exponential(constant_epochs=100),
    train=Train(epochs=150),
)
# Number of epochs unverified.
HACNN = Recipe(
    name="hacnn",
    description="HA-CNN (Li et al. 2018): a small network with hard and soft attention; 1,024 numbers.",
    data=Data(height=160, width=64, sampler="shuffled", batch_ids=8, augment=Augment(flip=0.0, erase="none")),
    model=HACNNModel(),
    loss=ClassificationLoss(),
    optim=Adam(lr_backbone=5e-4, lr_head=5e-4),
    schedule=Steps(milestones=(101,)),
    train=Train(epochs=150),
)
# The paper's training from random weights. Silent: momentum, and how much the labels are smoothed. Its random crop is a
# shift here, and its random patches, cut from other images, are random erasing, as the authors have advised since.
OSNET_AUGMENT = Augment(erase="correct", erase_probability=0.5, erase_area=(0.02, 0.4), erase_fill="mean", shift=1 / 16)
OSNET = Recipe(
    name="osnet",
    description="OSNet (Zhou et al. 2019): a small network that sees several scales in every block; 512 numbers.",
    data=Data(height=256, sampler="shuffled", augment=OSNET_AUGMENT),
    model=OSNetModel(),
    loss=ClassificationLoss(label_smoothing=0.1),
    optim=SGD(lr_backbone=0.065, lr_head=0.065),
    schedule=Steps(milestones=(151, 226, 301)),
    train=Train(epochs=350),
)

# Silent: the last learning rate. ImageNet's mean and deviation are taken out, as DeiT's and DINO's weights expect.
TRANSREID = Recipe(
    name="transreid",
    description="TransReID (He et al. 2021): a vision transformer with a jigsaw branch; 3,840 numbers.",
    data=Data(height=256, sampler="identities", augment=BOT_AUGMENT),
    model=TransReIDModel(),
    loss=TransReIDLoss(),
    optim=SGD(lr_backbone=8e-3, lr_head=8e-3, weight_decay=1e-4),
    schedule=Cosine(warmup_epochs=5),
    train=Train(epochs=120),
)

SYSTEM_RECIPES = (SVDNET, TRINET, HACNN, DEEP_PERSON, ALIGNED_REID, PCB, PCB_RPP, HPM, MGN, BOT, OSNET, TRANSREID)

# What a system has to change at 1/16 of the paper's computation: fewer channels, and stripes that tile a small map.
_SMALL: dict[str, dict[str, Any]] = {
    "svdnet": {"dim": 256, "last_stride": 1},
    "trinet": {"last_stride": 1},
    "deep-person": {"dim": 256, "last_stride": 1},
    "aligned-reid": {"last_stride": 1},
    "hacnn": {"channels": (64, 128, 192), "dim": 256},
    "osnet": {"width": 0.5},
    "transreid": {"backbone": "vit-nano-16", "pretrained": None},
}


_HALF_RESNET = {"backbone": "resnet18-half", "pretrained": None}


def scaled_down(recipe: Recipe, epochs: int, *, imagenet: bool = False) -> Recipe:
    """The same system on a small backbone at 128 x 64, with one optimizer and one budget for all.

    The backbone is a half-width ResNet-18 from random weights or, with ``imagenet``, a MobileNetV2 from ImageNet whose
    first three stages stay as they are. HA-CNN and OSNet, which have a network of their own, get half of its channels,
    TransReID a small transformer, and all three start from random weights. Stripes that 128 rows cannot hold (six) ask
    for 192 rows; the loss and the kind of batches stay the system's own.
    """
    model: Any = recipe.model
    model = replace(model, **_SMALL.get(recipe.name, {}))
    if hasattr(model, "backbone") and not isinstance(model, TransReIDModel):
        small = {"backbone": "mobilenet-v2-trunk", "pretrained": "imagenet"} if imagenet else _HALF_RESNET
        model = replace(model, **small)
    if isinstance(model, SVDNetModel):
        # A base phase comes first, whatever the length: there must be something to decompose.
        phase = max(1, epochs // 8)
        iterations = min(3, (epochs - 1) // (2 * phase))
        plan = RestraintRelaxation(epochs - 2 * phase * iterations, phase, phase, iterations)
        model = replace(model, plan=plan)
    if isinstance(model, PCBModel):
        model = replace(model, stripe_epochs=epochs * 6 // 10, assignment_epochs=max(1, epochs // 10))
    parts = {6, 3} & set(getattr(model, "scales", ()) or (getattr(model, "num_parts", 1),))
    sampler = recipe.data.sampler
    pretrained = getattr(model, "pretrained", None) is not None
    return replace(
        recipe,
        name=f"{recipe.name}-{'lite' if imagenet else 'small'}",
        data=replace(
            recipe.data,
            height=192 if parts else 128,
            width=64,
            sampler="identities" if sampler == "anchors" else sampler,
            batch_ids=16,
            batch_images=4,
            augment=Augment(erase="correct", erase_probability=0.3),
        ),
        model=model,
        optim=AdamW(lr_backbone=3e-4 if pretrained else 2e-3, lr_head=2e-3, weight_decay=0.02),
        schedule=Cosine(warmup_epochs=1),
        train=Train(epochs=epochs, precision="auto", frozen_stages=3 if pretrained else 0),
        evaluation=Evaluation(every=0),
    )
