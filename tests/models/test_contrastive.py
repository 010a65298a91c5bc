"""The contrastive loop: it pulls views together, resumes to the bit, and its augmentations keep images images."""

import math
import threading
from typing import Any, Literal

import numpy as np
import pytest
import torch
from shared_work import sums

from ray_ue.loop import Step, Workers
from ray_ue.models import contrastive
from ray_ue.models.small import backbone

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 4, 4, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2)


def draws(seed: int, total: int) -> contrastive.RowDraws:
    return contrastive.RowDraws(rng=torch.Generator().manual_seed(seed), total=total)


def run(*, steps: int = 6, seed: int = 0, resume: dict[str, torch.Tensor] | None = None, stop: int = 99) -> Step:
    net = backbone("small", image_size=16, seed=seed)
    step = None
    for step in contrastive.contrast(PIXELS, net=net, steps=steps, batch=12, seed=seed, device=CPU, workers=Workers(), resume=resume or {}):
        if step.step == stop:
            break
    assert step is not None
    return step


def test_views_of_one_image_come_together() -> None:
    first = next(contrastive.contrast(PIXELS, net=backbone("small", image_size=16, seed=0), **common(40)))
    assert run(steps=40).loss < first.loss - 0.3


def common(steps: int) -> dict:
    return {"steps": steps, "batch": 12, "seed": 0, "device": CPU, "workers": Workers(), "resume": {}}


def test_resuming_gives_the_same_bits() -> None:
    straight = run().state()
    resumed = run(resume=run(stop=3).state()).state()
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    assert int(resumed["step"]) == 6


def test_weights_are_the_backbones_alone() -> None:
    found = contrastive.weights(run(steps=1).state())
    assert found.keys() == backbone("small", image_size=16, seed=0).state_dict().keys()


def test_nt_xent_of_equal_and_of_unrelated_views() -> None:
    rows = torch.eye(4)
    others = 6  # of the seven other rows one is the same and six are at right angles
    assert contrastive.nt_xent(rows, rows, tau=1.0).item() == pytest.approx(math.log(1 + others / math.e), rel=1e-5)
    assert contrastive.nt_xent(rows, rows, tau=0.1) < contrastive.nt_xent(rows, rows.roll(1, 0), tau=0.1)


def test_augmented_images_stay_images_and_differ() -> None:
    images = torch.rand((16, 3, 20, 20), generator=torch.Generator().manual_seed(1))
    seen = contrastive.view(images, draws(2, 16))
    assert seen.shape == images.shape
    assert -1e-6 <= seen.min() <= seen.max() <= 1 + 1e-6
    assert ((seen - images).abs().mean((1, 2, 3)) > 0.01).all()
    assert torch.equal(seen, contrastive.view(images, draws(2, 16)))


def test_a_grey_image_has_no_hue_to_turn() -> None:
    grey = torch.full((8, 3, 4, 4), 0.4)
    seen = contrastive.recolour(grey, draws(0, 8))
    assert (seen.amax(1) - seen.amin(1)).max() < 1e-5


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        next(contrastive.contrast(PIXELS[:1], net=backbone("small", image_size=16, seed=0), **common(1)))


def test_more_workers_than_images_of_a_batch_are_refused() -> None:
    many: Any = common(1) | {"workers": Workers(world=13)}
    with pytest.raises(ValueError, match="but 12 are too few for 13"):
        next(contrastive.contrast(PIXELS, net=backbone("small", image_size=16, seed=0), **many))


def trained_by(world: int, objective: Literal["simclr", "moco"], *, batch: int) -> list[tuple[list[float], dict[str, torch.Tensor]]]:
    """(losses, last state) of each worker; they are threads with one sum, which take turns, as torch's global generator is shared."""
    totals, turn, found = sums(world), threading.Lock(), [(list[float](), dict[str, torch.Tensor]())] * world

    def work(rank: int) -> None:
        def total(value: torch.Tensor) -> torch.Tensor:
            turn.release()
            whole = totals[rank](value)
            turn.acquire()
            return whole

        workers = Workers(rank=rank, world=world, all_reduce=total) if world > 1 else Workers()
        settings = common(4) | {"workers": workers, "batch": batch, "objective": objective}
        losses = []
        with turn:
            for step in contrastive.contrast(PIXELS, net=backbone("small", image_size=16, seed=0), **settings):
                losses.append(step.loss)
                found[rank] = losses, step.state()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("objective", ["simclr", "moco"])
@pytest.mark.parametrize(("world", "batch"), [(2, 12), (4, 12), (3, 10)])
def test_any_number_of_workers_trains_the_network_of_one(objective: Literal["simclr", "moco"], world: int, batch: int) -> None:
    """Also where their shares differ. Adam moves a weight whose slope is nearly zero by the sign of its rounding."""
    ((losses, alone),) = trained_by(1, objective, batch=batch)
    for others, state in trained_by(world, objective, batch=batch):
        assert others == pytest.approx(losses, rel=2e-3)
        assert state.keys() == alone.keys()
        apart = torch.cat([(state[name].float() - value.float()).abs().flatten() for name, value in alone.items() if "adam" not in name])
        assert (apart < 1e-4).float().mean() > 0.97
