"""Batch norm over the whole batch when workers hold parts of it: the same numbers on any number of workers, on CPU and GPU alike."""

from typing import Any

import torch
from jaxtyping import Float
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from ray_ue.loop import Workers


class _SumOverWorkers(torch.autograd.Function):
    """The sum over all workers; each worker's share gets the sum of all workers' slopes."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, workers: Workers) -> Tensor:
        ctx.workers = workers
        return workers.all_reduce(value.clone())

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return ctx.workers.all_reduce(slopes[0].clone()), None


def sum_over_workers(value: Tensor, workers: Workers) -> Tensor:
    """The differentiable sum of a tensor over all workers, which all have to call this."""
    return _SumOverWorkers.apply(value, workers)


def gather_rows(part: Float[Tensor, "b D"], *, own: slice, total: int, workers: Workers) -> Float[Tensor, "B D"]:
    """The rows of all workers in their places, of which this one holds `own`; differentiable."""
    if workers.world == 1:
        return part
    whole = part.new_zeros((total, part.shape[1]))
    whole[own] = part
    return sum_over_workers(whole, workers)


class SyncBatchNorm2d(nn.BatchNorm2d):
    """torch has this for NCCL alone (`SyncBatchNorm`); a worker may hold no row of a batch and takes part all the same.

    What timm's batch norms do after the normalisation (`drop`, `act`) stays.
    """

    def __init__(self, given: nn.BatchNorm2d, *, workers: Workers) -> None:
        super().__init__(given.num_features, eps=given.eps, momentum=given.momentum, affine=given.affine)
        self.load_state_dict(given.state_dict())
        self.workers = workers
        self.drop, self.act = (getattr(given, name, nn.Identity()) for name in ("drop", "act"))
        self.train(given.training)

    def forward(self, input: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        if not self.training:
            return self.act(self.drop(super().forward(input)))
        values = input.float()
        count = torch.full((1,), values.numel() // values.shape[1], device=values.device, dtype=torch.float32)
        sums = sum_over_workers(torch.cat([values.sum((0, 2, 3)), count]), self.workers)
        mean = sums[:-1] / sums[-1]
        away = values - mean[None, :, None, None]
        spread = sum_over_workers(away.square().sum((0, 2, 3)), self.workers) / sums[-1].detach()
        self._update_running_statistics(mean.detach(), spread.detach(), sums[-1].detach())
        normal = away * (spread + self.eps).rsqrt()[None, :, None, None]
        if self.affine:
            normal = normal * self.weight[None, :, None, None] + self.bias[None, :, None, None]
        return self.act(self.drop(normal.to(input.dtype)))

    @torch.no_grad()
    def _update_running_statistics(self, mean: Float[Tensor, " C"], spread: Float[Tensor, " C"], count: Float[Tensor, ""]) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(spread * (count / (count - 1).clamp(min=1)), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def with_sync_batchnorm(net: nn.Module, *, workers: Workers) -> nn.Module:
    """Replace every batch norm, in place; one worker alone keeps torch's own. A `ValueError` for a kind that is not known."""
    if workers.world == 1:
        return net
    for name, part in list(net.named_modules()):
        if isinstance(part, nn.BatchNorm2d) and not isinstance(part, SyncBatchNorm2d):
            if type(part) is not nn.BatchNorm2d and not isinstance(part, BatchNormAct2d):
                raise ValueError(f"{name} is a {type(part).__name__}, whose batch norm several workers cannot share; use --workers 1")
            net.set_submodule(name, SyncBatchNorm2d(part, workers=workers))
    return net
