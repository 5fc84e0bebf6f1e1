"""What a recipe is: one complete, named experiment as frozen dataclasses."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Literal

from crosscam.data.augment import Augment
from crosscam.data.loading import Cache
from crosscam.errors import RecipeError
from crosscam.models.rrid import RRIDModel
from crosscam.models.systems import ModelSettings
from crosscam.recipes.limits import flatten, too_large

Precision = Literal["fp32", "bf16", "auto"]
LossName = Literal["rrid", "classification", "soft-margin", "mgn", "bnneck", "aligned-reid"]


@dataclass(frozen=True)
class Data:
    """What the network sees.

    Attributes:
        height, width: input size in pixels.
        sampler: ``"anchors"`` (the authors' code: 4N images an epoch), ``"identities"`` (P x K, N images an epoch), or
            ``"shuffled"`` (any P x K images, for losses without triplets).
        batch_ids: P, identities in a batch (anchors, for the authors' sampler).
        batch_images: K, images for each.
        augment: random changes of the images.
        cache: whether the images are decoded once into memory.
        small_until: share of the epochs that are trained at the smaller size ``small``; 0 for none.
        small: height and width of those epochs.
    """

    height: int = 384
    width: int = 128
    sampler: Literal["anchors", "identities", "shuffled"] = "anchors"
    batch_ids: int = 16
    batch_images: int = 4
    augment: Augment = field(default_factory=Augment)
    cache: Cache = "auto"
    small_until: float = 0.0
    small: tuple[int, int] = (192, 64)


@dataclass(frozen=True)
class Loss:
    """What is minimised; a loss uses those settings that its function has.

    Attributes:
        name: ``"rrid"`` (equation (3)), or the loss of another system; see :mod:`crosscam.training.objective`.
        margin: alpha of the triplet loss.
        cross_entropy_weight: lambda.
        label_smoothing: share of the target that is spread over all classes.
        triplet_on: see :func:`crosscam.losses.rrid_loss`.
    """

    name: LossName = "rrid"
    margin: float = 1.2
    cross_entropy_weight: float = 2.0
    label_smoothing: float = 0.0
    triplet_on: Literal["blocks", "descriptor"] = "blocks"


@dataclass(frozen=True)
class Distill:
    """What is learned from other networks, the teachers, beside the labels.

    Attributes:
        teachers: exported files (``.onnx``, OpenVINO's ``.xml``) or run folders; none for a training by labels alone.
            A teacher sees each picture as it is, whatever the augmentation makes of it for the network.
        input: what teachers that are files take: colour order, height x width, and ``255`` (0 to 255), ``1`` (0 to 1)
            or ``imagenet`` (mean and deviation of ImageNet taken out).
        similarity: weight of the loss on all pairwise similarities of a batch, see
            :func:`crosscam.training.distillation.similarity_loss`.
        mapping: weight of the loss on linear maps of the descriptor to each teacher's, see
            :class:`crosscam.training.distillation.Distiller`.
        unlabelled: a text file that lists more pictures, one a line, paths counted from its folder; they are learned
            from the teachers alone.
        unlabelled_images: how many of them are added to each batch, at random.
    """

    teachers: tuple[str, ...] = ()
    input: str = "rgb 256x128 imagenet"
    similarity: float = 0.0
    mapping: float = 0.0
    unlabelled: str | None = None
    unlabelled_images: int = 0


@dataclass(frozen=True)
class Optim:
    """The optimiser.

    Attributes:
        name: ``"sgd"``, ``"adam"`` (weight decay added to the gradient) or ``"adamw"`` (decoupled).
        lr_backbone: learning rate of the backbone.
        lr_head: learning rate of everything else.
        weight_decay: on all parameters, as in the authors' code.
        clip_norm: largest norm of the gradient; None for no limit.
    """

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr_backbone: float = 1e-3
    lr_head: float = 1e-2
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    clip_norm: float | None = None


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the epochs, as a factor.

    Attributes:
        name: ``"steps"``: times ``gamma`` at the start of each milestone (1-based epochs); ``"cosine"``: from 1 to
            ``floor`` by half a cosine, after the warm-up; ``"exponential"``: 1 until the first milestone, then down to
            ``floor`` by a constant factor.
        warmup_epochs: linear rise from ``warmup_start`` at the beginning; 0 for none.
    """

    name: Literal["steps", "cosine", "exponential"] = "steps"
    milestones: tuple[int, ...] = (40, 60)
    gamma: float = 0.1
    warmup_epochs: float = 0.0
    warmup_start: float = 0.1
    floor: float = 0.0


@dataclass(frozen=True)
class Train:
    """How the training runs.

    Attributes:
        epochs: passes of the sampler.
        seed: everything random follows from it.
        precision: ``"fp32"``, ``"bf16"`` (autocast; weights stay fp32), or ``"auto"``: bf16 where the chip has it.
        channels_last: memory layout of images and convolutions.
        accumulate: batches whose gradients make one step.
        ema: decay of a moving average of the weights, which is then what is saved; 0 for none.
        checkpoint_steps: also save every so many steps within an epoch; 0 for the ends of epochs only.
        frozen_stages: first stages of the backbone that keep the weights and statistics they start with; see
            ``Backbone.stages``.
        sync_batch_norm: with several processes, batch normalisation over the whole batch instead of each one's part.
    """

    epochs: int = 80
    seed: int = 0
    precision: Precision = "fp32"
    channels_last: bool = True
    accumulate: int = 1
    ema: float = 0.0
    checkpoint_steps: int = 0
    frozen_stages: int = 0
    sync_batch_norm: bool = False


@dataclass(frozen=True)
class Evaluation:
    """How the result is scored.

    Attributes:
        flip: mean over the image and its mirror image.
        ap: ``"step"`` or ``"trapezoid"``.
        every: also score after every so many epochs; 0 for the end only.
        batch_size: images at once.
    """

    flip: bool = True
    ap: Literal["step", "trapezoid"] = "step"
    every: int = 10
    batch_size: int = 128


@dataclass(frozen=True)
class Recipe:
    """One complete experiment. A variant is ``dataclasses.replace`` of another.

    Raises:
        RecipeError: settings that cannot work together, with the setting to change.
    """

    name: str
    description: str
    data: Data = field(default_factory=Data)
    model: ModelSettings = field(default_factory=RRIDModel)
    loss: Loss = field(default_factory=Loss)
    distill: Distill = field(default_factory=Distill)
    optim: Optim = field(default_factory=Optim)
    schedule: Schedule = field(default_factory=Schedule)
    train: Train = field(default_factory=Train)
    evaluation: Evaluation = field(default_factory=Evaluation)

    def __post_init__(self) -> None:
        self._check_ranges()
        self._check_distillation()
        large = too_large(flatten(dataclasses.asdict(self)))
        if large:
            raise RecipeError(large)
        sizes = [(self.data.height, self.data.width)] + ([self.data.small] if self.data.small_until else [])
        for height, width in sizes:
            try:
                self.model.check(height, width)
            except ValueError as error:
                raise RecipeError(str(error)) from error

    def _check_distillation(self) -> None:
        distill = self.distill
        weighs = distill.similarity > 0 or distill.mapping > 0
        if bool(distill.teachers) != weighs:
            raise RecipeError(
                f"distill.teachers={','.join(distill.teachers) or 'none'} with distill.similarity={distill.similarity} "
                f"and distill.mapping={distill.mapping}: give teachers and a weight above 0, or neither."
            )
        if (distill.unlabelled is None) != (distill.unlabelled_images == 0):
            raise RecipeError(
                f"distill.unlabelled={distill.unlabelled} with distill.unlabelled_images={distill.unlabelled_images}: "
                "give a list of pictures and how many of them a batch takes, or neither."
            )
        if distill.unlabelled is not None and not distill.teachers:
            raise RecipeError(
                "distill.unlabelled: pictures without labels are learned from distill.teachers. Give one."
            )

    def _check_ranges(self) -> None:
        for name, value, low, high in self._ranges():
            if not low <= value <= high:
                limits = f"at least {low}" if high == math.inf else f"from {low} to {high}"
                raise RecipeError(f"{name}={value}: expected {limits}.")
        for name, value in self._positive().items():
            if not value > 0:
                raise RecipeError(f"{name}={value} must be greater than 0.")
        for name, value in self._below_one().items():
            if not 0 <= value < 1:
                raise RecipeError(f"{name}={value} must lie in [0, 1).")
        if list(self.schedule.milestones) != sorted(set(self.schedule.milestones)):
            raise RecipeError(f"schedule.milestones={self.schedule.milestones}: give rising epochs.")

    def _ranges(self) -> list[tuple[str, float, float, float]]:
        augment, train = self.data.augment, self.train
        return [
            ("data.augment.flip", augment.flip, 0, 1),
            ("data.augment.erase_probability", augment.erase_probability, 0, 1),
            ("data.augment.shift", augment.shift, 0, 1),
            ("data.augment.jitter", augment.jitter, 0, 1),
            ("data.augment.tint", augment.tint, 0, 1),
            ("data.augment.grey", augment.grey, 0, 1),
            ("data.augment.blur", augment.blur, 0, 1),
            ("data.augment.background", augment.background, 0, 1),
            ("data.small_until", self.data.small_until, 0, 1),
            # A triplet needs two identities in a batch.
            ("data.batch_ids", self.data.batch_ids, 2, math.inf),
            ("data.batch_images", self.data.batch_images, 1, math.inf),
            ("loss.margin", self.loss.margin, 0, math.inf),
            ("loss.cross_entropy_weight", self.loss.cross_entropy_weight, 0, math.inf),
            ("distill.similarity", self.distill.similarity, 0, math.inf),
            ("distill.mapping", self.distill.mapping, 0, math.inf),
            ("distill.unlabelled_images", self.distill.unlabelled_images, 0, math.inf),
            ("optim.weight_decay", self.optim.weight_decay, 0, math.inf),
            ("schedule.gamma", self.schedule.gamma, 0, 1),
            ("schedule.warmup_epochs", self.schedule.warmup_epochs, 0, math.inf),
            ("schedule.warmup_start", self.schedule.warmup_start, 0, 1),
            ("schedule.floor", self.schedule.floor, 0, 1),
            ("train.epochs", train.epochs, 1, math.inf),
            ("train.seed", train.seed, 0, math.inf),
            ("train.frozen_stages", train.frozen_stages, 0, math.inf),
            ("train.accumulate", train.accumulate, 1, math.inf),
            ("train.checkpoint_steps", train.checkpoint_steps, 0, math.inf),
            ("evaluation.every", self.evaluation.every, 0, math.inf),
            ("evaluation.batch_size", self.evaluation.batch_size, 1, math.inf),
        ]

    def _positive(self) -> dict[str, float]:
        clip = self.optim.clip_norm
        rates = {"optim.lr_backbone": self.optim.lr_backbone, "optim.lr_head": self.optim.lr_head}
        return rates | ({} if clip is None else {"optim.clip_norm": clip})

    def _below_one(self) -> dict[str, float]:
        return {
            "loss.label_smoothing": self.loss.label_smoothing,
            "optim.momentum": self.optim.momentum,
            "train.ema": self.train.ema,
        }
