"""What a recipe is: one complete, named experiment as frozen dataclasses, which are checked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from crosscam.data.augment import Augment
from crosscam.data.loading import Cache
from crosscam.errors import RecipeError
from crosscam.models.backbones.build import num_stages
from crosscam.models.baselines.mgn import MGNModel
from crosscam.models.baselines.trinet import TriNetModel
from crosscam.models.rrid import RRIDModel
from crosscam.models.systems import ModelSettings
from crosscam.recipes.choices import (
    SGD,
    Adapt,
    ClassificationLoss,
    Loss,
    Optim,
    RRIDLoss,
    Schedule,
    Steps,
)
from crosscam.recipes.ranges import check_ranges, flatten

Precision = Literal["fp32", "bf16", "auto"]


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
        mirror_pass: whether a descriptor is the mean over an image and its mirror image, wherever descriptors are made
            and nothing else is asked for (``--no-flip``, ``flip=``). Scores go by ``evaluation.flip``.
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
    mirror_pass: bool = True


@dataclass(frozen=True)
class Distill:
    """What is learned from other networks, the teachers, beside the labels.

    Attributes:
        teachers: networks' files (``.onnx``, OpenVINO's ``.xml``, TorchScript) or run folders; none for a training by
            labels alone.
            A teacher sees each image as it is, whatever the augmentation makes of it for the network.
        input: what teachers that are files take: color order, height x width, and ``255`` (0 to 255), ``1`` (0 to 1)
            or ``imagenet`` (mean and deviation of ImageNet taken out).
        similarity: weight of the loss on all pairwise similarities of a batch, see
            :func:`crosscam.training.teachers.similarity_loss`.
        mapping: weight of the loss on linear maps of the descriptor to each teacher's, see
            :class:`crosscam.training.teachers.Distiller`.
        unlabeled: a text file that lists more images, one a line, paths counted from its folder; they are learned
            from the teachers alone.
        unlabeled_images: how many of them are added to each batch, at random.
    """

    teachers: tuple[str, ...] = ()
    input: str = "rgb 256x128 imagenet"
    similarity: float = 0.0
    mapping: float = 0.0
    unlabeled: str | None = None
    unlabeled_images: int = 0


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
        swa_epochs: last epochs whose weights are averaged (SWA), and the mean is what is saved; 0 for none.
        checkpoint_steps: also save every so many steps within an epoch; 0 for the ends of epochs only.
        frozen_stages: first stages of the backbone that keep the weights and statistics they start with; see
            ``Backbone.stages``.
        start: a run folder, or a network that comes with crosscam, whose weights the training begins with; its
            classifiers, which are of other people, are left out. None for the backbone's weights alone
            (``model.pretrained``).
        sync_batch_norm: with several processes, batch normalization over the whole batch instead of each one's part.
    """

    epochs: int = 80
    seed: int = 0
    precision: Precision = "fp32"
    channels_last: bool = True
    accumulate: int = 1
    ema: float = 0.0
    swa_epochs: int = 0
    checkpoint_steps: int = 0
    frozen_stages: int = 0
    start: str | None = None
    sync_batch_norm: bool = False


@dataclass(frozen=True)
class Evaluation:
    """How the result is scored.

    Attributes:
        flip: mean over the image and its mirror image. As the next, it counts for scores alone: what is extracted,
            searched, calibrated and exported goes by ``data.mirror_pass``.
        normalize: whether descriptors are scaled to length 1 before they are ranked; TriNet's paper ranks them as they
            are. What is searched and exported always has length 1.
        ap: ``"step"`` or ``"trapezoid"``.
        every: also score after every so many epochs; 0 for the end only.
        batch_size: images at once.
    """

    flip: bool = True
    normalize: bool = True
    ap: Literal["step", "trapezoid"] = "step"
    every: int = 10
    batch_size: int = 128


@dataclass(frozen=True)
class Recipe:
    """One complete experiment. A variant is ``dataclasses.replace`` of another.

    Attributes:
        adapt: how a trained network is fitted without labels; None for a training by labels. The loss is then its own.

    Raises:
        RecipeError: settings that cannot work together, with the setting to change.
    """

    name: str
    description: str
    data: Data = field(default_factory=Data)
    model: ModelSettings = field(default_factory=RRIDModel)
    loss: Loss = field(default_factory=RRIDLoss)
    distill: Distill = field(default_factory=Distill)
    optim: Optim = field(default_factory=SGD)
    schedule: Schedule = field(default_factory=Steps)
    train: Train = field(default_factory=Train)
    evaluation: Evaluation = field(default_factory=Evaluation)
    adapt: Adapt | None = None

    def __post_init__(self) -> None:
        check_ranges(flatten(dataclasses.asdict(self)))
        self._check_augment()
        self._check_distillation()
        self._check_loss()
        sizes = [(self.data.height, self.data.width)] + ([self.data.small] if self.data.small_until else [])
        for height, width in sizes:
            try:
                self.model.check(height, width)
            except ValueError as error:
                raise RecipeError(str(error)) from error
        frozen, stages = self.train.frozen_stages, stages_of(self.model)
        if frozen > stages > 0:
            raise RecipeError(f"train.frozen_stages={frozen}: the backbone of {self.model.system} has {stages} stages.")

    def _check_loss(self) -> None:
        systems = {"bnneck": "bot", "aligned-reid": "aligned-reid", "transreid": "transreid"}
        needed = systems.get(self.loss.name, self.model.system)
        if self.model.system != needed:
            raise RecipeError(
                f"loss.name={self.loss.name} takes what only model.system={needed} gives, and the system is "
                f"{self.model.system}. Choose another loss, or another recipe."
            )
        if getattr(self.loss, "pairs", None) == "circle" and getattr(self.loss, "margin", 0) >= 1:
            raise RecipeError(
                f"loss.margin={getattr(self.loss, 'margin', None)} with loss.pairs=circle: expected below 1, since it "
                "compares cosines (0.25 is usual)."
            )
        if self.data.batch_images < 2 and not isinstance(self.loss, ClassificationLoss) and self.adapt is None:
            raise RecipeError(
                f"data.batch_images={self.data.batch_images} with loss.name={self.loss.name}: its triplets take two "
                "images of one person. Set data.batch_images to 2 or more."
            )
        self._check_class_heads()
        self._check_averages()
        if isinstance(self.loss, ClassificationLoss) and not classifies(self.model):
            raise RecipeError(
                f"loss.name=classification: {self.model.system} has no classifiers, so that nothing would be learned. "
                "Choose a loss with triplets."
            )

    def _check_class_heads(self) -> None:
        softmax, weight = getattr(self.loss, "softmax", "plain"), getattr(self.loss, "center_weight", 0.0)
        classifier, centers = getattr(self.model, "classifier", "linear"), getattr(self.model, "centers", False)
        if (softmax != "plain") != (classifier == "cosine"):
            raise RecipeError(
                f"loss.softmax={softmax} with model.classifier={classifier}: arcface and cosface take cosine, plain "
                "takes linear. Set both."
            )
        if (weight > 0) != centers:
            raise RecipeError(
                f"loss.center_weight={weight} with model.centers={str(centers).lower()}: give a weight above 0 (0.0005 "
                "is usual) and model.centers=true, or neither."
            )

    def _check_averages(self) -> None:
        train, swa = self.train, self.train.swa_epochs
        if swa and (train.ema or self.adapt is not None):
            other = f"train.ema={train.ema}" if train.ema else "crosscam adapt"
            raise RecipeError(
                f"train.swa_epochs={swa} with {other}: weights have one average. Set train.swa_epochs to 0."
            )
        if swa > train.epochs:
            raise RecipeError(f"train.swa_epochs={swa}: expected at most train.epochs={train.epochs}.")

    def _check_distillation(self) -> None:
        distill = self.distill
        if self.adapt is not None and distill.teachers:
            raise RecipeError("distill.teachers: an adaptation learns from clusters alone. Leave distill.* out.")
        weighs = distill.similarity > 0 or distill.mapping > 0
        if bool(distill.teachers) != weighs:
            raise RecipeError(
                f"distill.teachers={','.join(distill.teachers) or 'none'} with distill.similarity={distill.similarity} "
                f"and distill.mapping={distill.mapping}: give teachers and a weight above 0, or neither."
            )
        if (distill.unlabeled is None) != (distill.unlabeled_images == 0):
            raise RecipeError(
                f"distill.unlabeled={distill.unlabeled} with distill.unlabeled_images={distill.unlabeled_images}: "
                "give a list of images and how many of them a batch takes, or neither."
            )
        if distill.unlabeled is not None and not distill.teachers:
            raise RecipeError("distill.unlabeled: images without labels are learned from distill.teachers. Give one.")

    def _check_augment(self) -> None:
        least, most = self.data.augment.erase_area
        if not 0 < least <= most < 1:
            raise RecipeError(f"data.augment.erase_area={least},{most}: expected two rising shares between 0 and 1.")
        shift, side = self.data.augment.shift_pixels, min(self.data.height, self.data.width)
        if shift and shift >= side:
            raise RecipeError(
                f"data.augment.shift_pixels={shift}: images of {self.data.height} x {self.data.width} would be shifted "
                f"out of sight. Expected less than {side}."
            )


def classifies(model: ModelSettings) -> bool:
    """Whether the system tells identities apart by classifiers."""
    return not isinstance(model, TriNetModel)


def stages_of(model: ModelSettings) -> int:
    """How many stages of the network ``train.frozen_stages`` counts; 0 for a network that is not one in stages."""
    name = getattr(model, "backbone", None)
    # MGN's branches part within a stage; those before it are shared.
    return 0 if name is None else num_stages(name, shared=isinstance(model, MGNModel))
