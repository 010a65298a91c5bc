"""Batch norm over parts of a batch that threads hold, against torch's own over the whole of it."""

import copy
import threading

import pytest
import timm
import torch
from shared_work import sums
from torch import Tensor, nn

from ray_ue.loop import Workers
from ray_ue.models.sync_batchnorm import SyncBatchNorm2d, with_sync_batchnorm


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5))


@pytest.mark.parametrize("sizes", [(5, 7), (12, 0), (1, 4, 7)])
def test_parts_make_the_whole(sizes: tuple[int, ...]) -> None:
    images = torch.randn((12, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    weights = torch.randn((12, 5, 4, 4), generator=torch.Generator().manual_seed(2))
    whole = net().train()
    out = whole(images)
    (out * weights).sum().backward()
    nets = [copy.deepcopy(net()).train() for _ in sizes]
    outs: dict[int, Tensor] = {}

    def work(rank: int, total: object) -> None:
        with_sync_batchnorm(nets[rank], workers=Workers(rank=rank, world=len(sizes), all_reduce=total))  # type: ignore[arg-type]
        begin = sum(sizes[:rank])
        part = slice(begin, begin + sizes[rank])
        outs[rank] = nets[rank](images[part])
        (outs[rank] * weights[part]).sum().backward()

    totals = sums(len(sizes))
    threads = [threading.Thread(target=work, args=(rank, totals[rank])) for rank in range(len(sizes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.allclose(torch.cat([outs[rank] for rank in range(len(sizes))]), out, atol=1e-5)
    for name, value in whole.named_parameters():
        shares = [dict(part.named_parameters())[name].grad for part in nets]
        assert torch.allclose(sum(share for share in shares if share is not None), value.grad, atol=1e-4), name  # type: ignore[arg-type]
    for part in nets:
        for name, value in whole.named_buffers():
            assert torch.allclose(dict(part.named_buffers())[name].float(), value.float(), atol=1e-5), name


def test_what_timms_batch_norms_do_after_the_normalisation_stays() -> None:
    images = torch.randn((4, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    lite = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0).eval()
    before = lite(images)
    shared = with_sync_batchnorm(copy.deepcopy(lite), workers=Workers(world=2))
    assert torch.allclose(shared(images), before, atol=1e-5)
    lite.train()(images)
    shared.train()(images)  # two workers whose sum is what one of them has: the other has no rows
    assert all(torch.allclose(value.float(), dict(lite.named_buffers())[name].float(), atol=1e-4) for name, value in shared.named_buffers())


def test_a_batch_norm_of_an_unknown_kind_is_refused() -> None:
    class Odd(nn.BatchNorm2d):
        pass

    with pytest.raises(ValueError, match="1 is a Odd, whose batch norm several workers cannot share; use --workers 1"):
        with_sync_batchnorm(nn.Sequential(nn.Conv2d(3, 4, 3), Odd(4)), workers=Workers(world=2))


def test_one_worker_keeps_torchs_own_and_names_stay() -> None:
    assert not any(isinstance(part, SyncBatchNorm2d) for part in with_sync_batchnorm(net(), workers=Workers()).modules())
    assert with_sync_batchnorm(net(), workers=Workers(world=2)).state_dict().keys() == net().state_dict().keys()
