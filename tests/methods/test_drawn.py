"""Methods that look at no network: what their papers say of the patterns, and entries that do not depend on what is drawn together."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification

from ray_ue.loop import Workers
from ray_ue.methods import View
from ray_ue.methods._shared import surrogate_free as drawing
from ray_ue.methods._shared.surrogate_free import SurrogateFreeMethod
from ray_ue.methods.ar import AR, LOUDEST, processes, run
from ray_ue.methods.lsp import LSP, cloud, vertices
from ray_ue.methods.noise import RandomNoise
from ray_ue.models.pretrained.surrogates import blank
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable
from ray_ue.storage.artifacts import Folder

WIDE = Budget(levels=127)
GROUPS = 3


def view(home: Path, *, per: str, side: int = 32, rows: int = 30, budget: Budget = WIDE) -> View:
    groups = (np.arange(rows) % GROUPS).astype(np.int32)
    return View(
        pixels=np.zeros((rows, side, side, 3), np.uint8),
        slot_of=groups if per == "group" else np.arange(rows, dtype=np.int32),
        slots=GROUPS if per == "group" else rows,
        group_of=groups,
        groups=GROUPS,
        centers=np.zeros((GROUPS, 2), np.float32),
        surrogate=blank(side, device=torch.device("cpu")),
        deltas=DeltaTable(home=Folder.at(str(home)), rows=rows, side=side, pools=2, budget=budget),
    )


def entries(
    method: SurrogateFreeMethod, home: Path, *, per: str, side: int = 32, rows: int = 30, budget: Budget = WIDE, seed: int = 0
) -> torch.Tensor:
    seen = view(home, per=per, side=side, rows=rows, budget=budget)
    slots = np.arange(seen.slots)
    return method.slot_sampler(seen, budget=budget, seed=seed)(slots, seen.group_of_slot()[slots])


@pytest.mark.parametrize("method", [RandomNoise(), LSP(), AR()], ids=["noise", "lsp", "ar"])
def test_an_entry_does_not_depend_on_what_is_drawn_with_it(method: SurrogateFreeMethod, tmp_path: Path) -> None:
    seen = view(tmp_path, per="image", side=16)
    draw = method.slot_sampler(seen, budget=WIDE, seed=4)
    groups = seen.group_of_slot()
    whole = draw(np.arange(30), groups)
    some = np.array([17, 3, 29])
    assert torch.equal(draw(some, groups[some]), whole[some])
    assert torch.equal(draw(some[1:2], groups[some[1:2]]), whole[3:4])


def test_blocks_make_the_poison_that_one_draw_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "BLOCK", 12 * 32**2 * 4)
    for per in ("group", "image"):
        seen = view(tmp_path / per, per=per)
        aim = np.roll(np.arange(GROUPS), 1)
        *_, last = LSP().craft(seen, budget=WIDE, aim=aim, seed=0, workers=Workers(), resume={})
        poison = LSP().poison(last.state(), deltas=seen.deltas, budget=WIDE)
        made = np.concatenate(list(poison.blocks()))  # type: ignore[attr-defined]
        assert np.abs(made - 255 * entries(LSP(), tmp_path, per=per).numpy()).max() <= 1


def test_noise_fills_the_budget(tmp_path: Path) -> None:
    levels = (255 * entries(RandomNoise(), tmp_path, per="image", budget=Budget(levels=8))).round()
    assert sorted(levels.unique().tolist()) == list(range(-8, 9))
    assert abs(float(levels.mean())) < 0.1


@pytest.mark.parametrize("per", ["group", "image"])
@pytest.mark.parametrize("side", [32, 224, 30])
def test_lsp_has_patches_of_one_colour_and_the_authors_norm(per: str, side: int, tmp_path: Path) -> None:
    found = entries(LSP(), tmp_path, per=per, side=side, rows=6)
    edge = -(-side // 4)
    assert torch.equal(found, found[:, :, ::edge, ::edge].repeat_interleave(edge, 2).repeat_interleave(edge, 3)[:, :, :side, :side])
    norms = found.flatten(1).norm(dim=1)
    assert torch.allclose(norms, torch.full_like(norms, 6 / 255 * (3 * side**2) ** 0.5), rtol=1e-4)
    assert side != 32 or float(norms[0]) == pytest.approx(1.304, abs=1e-3)


def test_lsp_per_group_is_a_vertex_so_every_value_is_full(tmp_path: Path) -> None:
    assert (255 * entries(LSP(), tmp_path, per="group").abs()).unique().numpy() == pytest.approx(6, abs=1e-4)


def test_lsp_draws_what_scikit_learn_draws() -> None:
    """Clouds of make_classification: the means are vertices of the same cube, the spread within a class has the same moments."""
    width, number, groups = 48, 6000, 4
    theirs, kinds = make_classification(
        n_samples=number, n_features=width, n_informative=width, n_redundant=0, n_repeated=0, n_classes=groups,
        n_clusters_per_class=1, class_sep=10.0, flip_y=0.0, random_state=0,
    )  # fmt: skip
    of = np.arange(number) % groups
    centers = vertices(groups, width=width, seed=0)
    ours = cloud(np.arange(number), of, centers=centers, seed=0)
    assert np.abs(centers).min() == np.abs(centers).max() == 10
    assert len(np.unique(centers, axis=0)) == groups
    spreads = []
    for points, labels in ((theirs, kinds), (ours, of)):
        means = np.stack([points[labels == group].mean(0) for group in range(groups)])
        assert np.abs(np.abs(means) - 10).max() < 0.6
        within = points - means[labels]
        covariance = np.stack([np.cov(within[labels == group].T) for group in range(groups)])
        own = covariance[:, np.arange(width), np.arange(width)]
        off = covariance[:, ~np.eye(width, dtype=bool)]
        spreads.append((own.mean(), own.std(), off.mean(), off.std()))
    assert spreads[0][0] == pytest.approx(spreads[1][0], rel=0.05)
    assert spreads[0][0] == pytest.approx(width / 3, rel=0.05), "a sum of 48 squares of uniform numbers"
    assert spreads[0][1] == pytest.approx(spreads[1][1], rel=0.25)
    assert abs(spreads[0][2] - spreads[1][2]) < 0.2
    assert spreads[0][3] == pytest.approx(spreads[1][3], rel=0.1)


def test_small_cubes_are_used_up_to_the_last_vertex() -> None:
    assert len(np.unique(vertices(8, width=3, seed=0), axis=0)) == 8
    with pytest.raises(ValueError, match="9 groups need as many vertices, but a cube in 3 dimensions has 8; use more patches"):
        vertices(9, width=3, seed=0)


@pytest.mark.parametrize("side", [8, 32])
def test_ar_has_its_norm_and_follows_its_process(side: int, tmp_path: Path) -> None:
    found = entries(AR(), tmp_path, per="image", side=side, rows=6)
    norms = found.flatten(1).norm(dim=1)
    assert torch.allclose(norms, torch.full_like(norms, side / 32), rtol=1e-4)
    filters = processes(GROUPS, side=side, seed=0).clone()
    filters[:, :, 2, 2] = -1

    def response(shift: int) -> float:
        of = filters[(torch.arange(6) + shift) % GROUPS].reshape(-1, 1, 3, 3)
        return float(torch.nn.functional.conv2d(found.reshape(1, -1, side, side), of, groups=18).abs().max())

    assert response(0) < 1e-4, "a process's own filter gives nothing on its patterns"
    assert response(1) > 0.05


def test_ar_runs_as_pixel_after_pixel_would() -> None:
    rng = torch.Generator().manual_seed(0)
    found, starts = 0.3 * torch.randn((2, 3, 3, 3), generator=rng), torch.randn((2, 3, 11, 11), generator=rng)
    found[:, :, 2, 2] = 0
    slow = starts.clone()
    for i in range(2, 11):
        for j in range(2, 11):
            slow[:, :, i, j] = 0
            slow[:, :, i, j] = (slow[:, :, i - 2 : i + 1, j - 2 : j + 1] * found).sum((2, 3))
    assert torch.allclose(run(found, starts), slow[:, :, 4:, 4:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [8, 36])
def test_ar_processes_are_stable_different_and_sum_to_one(side: int) -> None:
    found = processes(12, side=side, seed=1)
    assert torch.allclose(found.sum((2, 3)), torch.ones(12, 3), atol=1e-3)
    assert (found[:, :, 2, 2] == 0).all()
    assert len({tuple(process.flatten().tolist()) for process in found}) == 12
    starts = torch.randn((12, 3, side + 4, side + 4), generator=torch.Generator().manual_seed(2))
    assert (run(found, starts).flatten(1).norm(dim=1) < 3 * LOUDEST * side / 32).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LSP(patches=0), "above zero, got 0 and 6.0"),
        (lambda: LSP(strength=-1), "above zero, got 4 and -1"),
        (lambda: AR(norm=0), "norm above zero, got 0; the authors' is 1"),
    ],
)
def test_values_that_mean_nothing_are_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()


def test_more_patches_than_pixels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="9 x 9 patches do not fit into 8 pixels; --settings patches=8 or fewer"):
        entries(LSP(patches=9), tmp_path, per="group", side=8)
