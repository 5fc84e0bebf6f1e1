"""What several processes compute as if they were one: the loss of a whole batch, and its batch normalization."""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from crosscam.models.output import ReidOutput
from crosscam.system.distributed import Split


def whole_output(output: ReidOutput, split: Split) -> ReidOutput:
    """The model's output for all images of a batch, from those of each process; all of them must ask.

    Every process then computes the same loss, of whatever kind, triplets across processes among it. Its gradients are
    those of that loss, once DistributedDataParallel has taken their mean over the processes.

    Args:
        output: for this process's rows of the batch.
        split: who has which rows.
    """
    if not split.shared:
        return output
    mine = (*output.embeddings, *output.logits, *output.extras.values())
    kind = reduce(torch.promote_types, (t.dtype for t in mine))
    # One message a step: as a rule the classifiers' part of it is smaller than their gradients.
    flat = torch.cat([t.flatten(1).to(kind) for t in mine], dim=1)
    gathered: Tensor = _Gather.apply(flat, split)  # type: ignore[no-untyped-call]
    columns = torch.split(gathered, [t[0].numel() for t in mine], dim=1)
    whole = [c.to(t.dtype).view(split.total, *t.shape[1:]) for c, t in zip(columns, mine, strict=True)]
    blocks, heads = len(output.embeddings), len(output.logits)
    extras = dict(zip(output.extras, whole[blocks + heads :], strict=True))
    return ReidOutput(tuple(whole[:blocks]), tuple(whole[blocks : blocks + heads]), extras, output.centers)


class _Gather(torch.autograd.Function):
    """(B_r, D) of each process -> (B, D) in all of them."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, split: Split) -> Tensor:
        ctx.split = split
        # Messages must be equally long.
        sent = own.new_zeros(max(split.counts), own.shape[1])
        sent[: len(own)] = own
        received = [torch.empty_like(sent) for _ in split.counts]
        dist.all_gather(received, sent)
        return torch.cat([part[:count] for part, count in zip(received, split.counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # Each process has the whole loss, so the sum over processes is wanted, and the mean will be taken.
        return gradient[ctx.split.rows] * len(ctx.split.counts), None


class WholeBatchNorm(TorchFunctionMode):
    """Within the block, batch normalization in training takes mean and variance over the images of all processes.

    The network keeps its layers: what they call is replaced, so the names of weights stay, and running statistics are
    the same in every process. Works on CPUs and GPUs; torch's SyncBatchNorm has no code for CPUs.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch for each of its functions."""
        chosen = whole_batch_norm if func is functional.batch_norm else func
        return chosen(*args, **(kwargs or {}))


def whole_batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As :func:`torch.nn.functional.batch_norm`; in training over the inputs of all processes, which must all call it.

    Args:
        input: (B_r, C, ...) in this process.
        running_mean, running_var: (C,), updated in training; None for none.
        weight, bias: (C,), None for one and zero.
        training: whether to take the batch's own statistics.
        momentum: how far the running statistics move.
        eps: added to the variance.
    """
    if not training:
        return functional.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    mean, variance, count = _statistics(input.detach())
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((variance * (count / max(count - 1, 1))).to(running_var.dtype), momentum)
    weight = torch.ones_like(mean) if weight is None else weight
    bias = torch.zeros_like(mean) if bias is None else bias
    out: Tensor = _Normalize.apply(input, weight, bias, mean, variance, count, eps)  # type: ignore[no-untyped-call]
    return out


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean and variance of each channel, and values in a channel, over all processes."""
    x = _wide(x)
    mean, variance = torch.batch_norm_update_stats(x, None, None, 0.0)
    own = torch.cat([mean.double(), variance.double(), mean.new_tensor([x.numel() // x.shape[1]]).double()])
    received = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(received, own)
    table = torch.stack(received)
    counts = table[:, -1:]
    means, variances = table[:, :-1].chunk(2, dim=1)
    count = counts.sum()
    whole = (counts * means).sum(dim=0) / count
    # Not from sums of squares, which lose all digits where the mean is far from zero.
    spread = (counts * (variances + (means - whole).square())).sum(dim=0) / count
    return whole.to(mean.dtype), spread.to(mean.dtype), int(count)


class _Normalize(torch.autograd.Function):
    """Batch normalization by statistics of all processes; the gradient knows that they depend on all inputs."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, count: int, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.count, ctx.eps = count, eps
        return functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        dy, x, eps = _wide(gradient), _wide(x), ctx.eps
        inverse = (variance + eps).rsqrt()
        # Only its two sums over the own inputs are taken: of the gradient, and of it times the normalized input.
        _, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, None, None, mean, inverse, True, eps, [False, True, True]
        )
        sums = torch.stack((d_weight, d_bias))
        dist.all_reduce(sums)
        scale = weight * inverse
        along, across = -scale * sums / ctx.count
        # d_x = scale * (dy - mean of dy - normalized x * mean of (dy * normalized x))
        d_x = functional.batch_norm(x, mean, variance, along, across, False, 0.0, eps)
        d_x.addcmul_(dy, scale.view(-1, *[1] * (x.dim() - 2)))
        return d_x.to(gradient.dtype), d_weight, d_bias, None, None, None, None


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
