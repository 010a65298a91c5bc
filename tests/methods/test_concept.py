"""One for All on a real open_clip checkpoint with random weights: images leave their concepts, within bounds, on from any step."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import photo
from tiny_clip import tiny_clip
from torch import Tensor

from ray_ue.images.quality import deviation
from ray_ue.loop import Step, Workers
from ray_ue.methods import Per, View
from ray_ue.methods.concept import FLOOR, Concept, embed_concepts, read_concepts
from ray_ue.models.conditional_generator import ConditionalGenerator
from ray_ue.models.pretrained.specs import parse
from ray_ue.models.pretrained.surrogates import Surrogate, blank, load
from ray_ue.perturbations.budget import Budget
from ray_ue.perturbations.delta_table import DeltaTable
from ray_ue.storage.artifacts import Folder

ROWS, GROUPS, SIDE = 24, 4, 32
BUDGET = Budget(levels=16)
TEXTS = "cat\ndog\n\nowl\n  steam train \ncat\na bowl of soup\ncar\nan old bridge\n"
SMALL: dict[str, Any] = {"epochs": 8, "batch": 8, "k_near": 2, "width": 4, "blocks": 1, "learning_rate": 0.01}


def method(concepts: Path, **changes: Any) -> Concept:
    return Concept(concepts=str(concepts), **{**SMALL, **changes})


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surrogate]:
    with tiny_clip(tmp_path_factory.mktemp("clip"), name="tiny-concept-clip") as spec:
        yield load(parse(spec), device=torch.device("cpu"), image_size=SIDE, weights={})


@pytest.fixture(scope="module")
def concepts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("concepts") / "concepts.txt"
    path.write_text(TEXTS)
    return path


def view(surrogate: Surrogate, home: Path, *, per: Per = "image", budget: Budget = BUDGET, grey: bool = False) -> View:
    side = surrogate.canvas
    groups = (np.arange(ROWS) % GROUPS).astype(np.int32)
    pixels = np.stack([photo(number, height=side, width=side) for number in range(ROWS)])
    return View(
        pixels=np.full_like(pixels, 128) if grey else pixels,
        slot_of=groups if per == "group" else np.arange(ROWS, dtype=np.int32),
        slots=GROUPS if per == "group" else ROWS,
        group_of=groups,
        groups=GROUPS,
        centers=np.zeros((GROUPS, surrogate.width), np.float32),
        surrogate=surrogate,
        deltas=DeltaTable(home=Folder.at(str(home)), rows=ROWS, side=side, pools=2, budget=budget),
    )


def follow(made: Concept, seen: View, *, seed: int = 0, budget: Budget = BUDGET, **more: Any) -> Iterator[tuple[Step, dict[str, Tensor]]]:
    start = {"workers": Workers(), "resume": {}} | more
    for step in made.craft(seen, budget=budget, aim=np.arange(GROUPS), seed=seed, **start):
        yield step, step.state()


def shown(made: Concept, seen: View, state: dict[str, Tensor], *, budget: Budget = BUDGET) -> np.ndarray:
    poison = made.poison(state, deltas=seen.deltas, budget=budget)
    return np.stack([poison.apply(pixels, int(slot)) for pixels, slot in zip(seen.pixels, seen.slot_of, strict=True)])


@dataclass(frozen=True, kw_only=True)
class Crafted:
    view: View
    steps: list[Step]
    state: dict[str, Tensor]
    shown: np.ndarray


@pytest.fixture(scope="module", params=["image", "group"])
def crafted(request: pytest.FixtureRequest, surrogate: Surrogate, concepts: Path, tmp_path_factory: pytest.TempPathFactory) -> Crafted:
    seen = view(surrogate, tmp_path_factory.mktemp("table"), per=request.param)
    steps = list(follow(method(concepts), seen))
    state = steps[-1][1]
    return Crafted(view=seen, steps=[step for step, _ in steps], state=state, shown=shown(method(concepts), seen, state))


def features(surrogate: Surrogate, pixels: np.ndarray) -> Tensor:
    return F.normalize(surrogate.features(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255), dim=1)


def ends(losses: list[float]) -> tuple[float, float]:
    """The mean losses of the first and the last epoch; the step after the last batch repeats its loss."""
    epochs = np.array(losses[:-1]).reshape(SMALL["epochs"], -1).mean(1)
    return float(epochs[0]), float(epochs[-1])


def test_the_loss_falls_and_its_cost_was_known(crafted: Crafted, concepts: Path) -> None:
    first, last = ends([step.loss for step in crafted.steps])
    assert last < first - 1
    assert crafted.steps[-1].images == method(concepts).passes(ROWS)


def moved(seen: View, after: np.ndarray, concepts: Path) -> tuple[float, float]:
    """How far the mean cosines with an image's two nearest concepts and with its opposite one rise from clean to published images.

    On whole images, which the generator never saw in training: it saw crops.
    """
    texts = embed_concepts(read_concepts(concepts), surrogate=seen.surrogate)
    before, then = (features(seen.surrogate, pixels) @ texts.T for pixels in (np.stack(list(seen.pixels)), after))
    near, far = before.topk(2).indices, before.argmin(1, keepdim=True)
    return float((then - before).gather(1, near).mean()), float((then - before).gather(1, far).mean())


def test_images_come_nearer_to_their_opposite_concept(crafted: Crafted, concepts: Path) -> None:
    """Fresh noise of this budget moves these cosines by 0.001."""
    assert moved(crafted.view, crafted.shown, concepts)[1] > 0.015


def test_images_leave_their_near_concepts(surrogate: Surrogate, concepts: Path, tmp_path: Path) -> None:
    made, seen = method(concepts, opposite_weight=0.0), view(surrogate, tmp_path)
    state = list(follow(made, seen))[-1][1]
    assert moved(seen, shown(made, seen, state), concepts)[0] < -0.02


def test_no_more_images_meet_in_the_surrogate_than_were_told(
    surrogate: Surrogate, concepts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met, really = [], Surrogate.features

    def features(self: Surrogate, images: Tensor) -> Tensor:
        met.append(len(images))
        return really(self, images)

    monkeypatch.setattr(Surrogate, "features", features)
    made, seen = method(concepts, epochs=1), view(surrogate, tmp_path)
    list(follow(made, seen))
    assert 0 < max(met) <= made.peak_batch(ROWS, pools=seen.deltas.pools)


def test_every_image_changes_within_the_budget(crafted: Crafted) -> None:
    most = [deviation(clean, after) for clean, after in zip(crafted.view.pixels, crafted.shown, strict=True)]
    assert min(most) > 0
    assert max(most) <= BUDGET.levels


def test_resuming_gives_the_same_state_and_copies(surrogate: Surrogate, concepts: Path, tmp_path: Path) -> None:
    made = method(concepts, epochs=3)
    whole = view(surrogate, tmp_path / "whole")
    straight = list(follow(made, whole))
    for number, (step, before) in enumerate(straight):
        again = view(surrogate, tmp_path / f"{step.step}")
        for _, stopped in zip(range(number + 1), follow(made, again)):  # noqa: B007 - the last one is meant
            pass
        assert all(torch.equal(value, stopped[1][key]) for key, value in before.items())
        after = list(follow(made, again, resume=stopped[1]))
        state = after[-1][1] if after else stopped[1]
        assert len(after) == len(straight) - number - 1
        assert state.keys() == straight[-1][1].keys()
        assert all(torch.equal(value, state[key]) for key, value in straight[-1][1].items())
        assert (shown(made, again, state) == shown(made, whole, straight[-1][1])).all()


def test_another_seed_makes_another_poison(surrogate: Surrogate, concepts: Path, tmp_path: Path) -> None:
    made, found = method(concepts, epochs=1), []
    for place, seed in (("a", 1), ("b", 1), ("c", 2)):
        seen = view(surrogate, tmp_path / place)
        found.append(shown(made, seen, list(follow(made, seen, seed=seed))[-1][1]))
    assert (found[0] == found[1]).all()
    assert (found[0] != found[2]).any()


def test_a_delta_has_the_norm_per_pixel_of_the_paper(surrogate: Surrogate, concepts: Path, tmp_path: Path) -> None:
    """16 at 224 x 224, so 16 / 7 at 32 x 32, where neither a budget nor white and black stand in the way."""
    budget = Budget(levels=127)
    seen = view(surrogate, tmp_path, budget=budget, grey=True)
    state = list(follow(method(concepts, epochs=1, k_near=5), seen, budget=budget))[-1][1]
    deltas = seen.deltas.read(int(state["turn"]), np.arange(ROWS))
    assert torch.allclose(deltas.flatten(1).norm(dim=1), torch.tensor(16 / 7), rtol=0.02)


def test_a_small_budget_still_learns(surrogate: Surrogate, concepts: Path, tmp_path: Path) -> None:
    """At 4/255 the norm is beyond what fits, so nearly every pixel is clipped."""
    budget = Budget(levels=4)
    seen = view(surrogate, tmp_path, budget=budget)
    first, last = ends([step.loss for step, _ in follow(method(concepts), seen, budget=budget)])
    assert last < first


def unit(*angles: float) -> Tensor:
    return torch.tensor([[np.cos(angle), np.sin(angle)] for angle in angles], dtype=torch.float32)


def test_the_loss_is_the_mean_near_cosine_and_a_tenth_of_the_reciprocal(concepts: Path) -> None:
    near = torch.stack([unit(0.0, np.pi / 2)])
    assert float(method(concepts).loss(unit(0.0), near=near, far=unit(np.pi / 3))) == pytest.approx(0.5 + 0.1 / 0.5, rel=1e-5)


def test_every_step_toward_the_opposite_concept_lowers_the_loss(concepts: Path) -> None:
    """Also from a cosine below zero, where the reciprocal itself would fall without end."""
    cosines = torch.linspace(-1, 1, 401)
    nothing = torch.zeros(1, 1, 1)
    values = torch.stack([method(concepts).loss(cosine.view(1, 1), near=nothing, far=torch.ones(1, 1)) for cosine in cosines])
    assert values.isfinite().all()
    assert (values.diff() < 0).all()
    assert values.diff().abs().max() <= 1.01 * 0.1 / FLOOR**2 * 2 / 400


def test_a_file_is_its_content_not_its_path(concepts: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text(TEXTS)
    one, same = (method(path).identity() for path in (concepts, tmp_path / "other.txt"))
    assert one == same
    assert str(concepts) not in str(one)
    (tmp_path / "other.txt").write_text(TEXTS + "elephant\n")
    assert method(tmp_path / "other.txt").identity() != one


def test_concepts_are_the_lines_each_once(concepts: Path) -> None:
    assert read_concepts(concepts) == ["cat", "dog", "owl", "steam train", "a bowl of soup", "car", "an old bridge"]


def test_without_concepts_it_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match=r"needs some: write --method concept --surrogate open_clip:\S+ --settings concepts=FILE"):
        Concept()


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        (b"cat\ndog\n", {}, r"has 2 concepts; k_near=2 and an opposite one need 3 or more"),
        (b"\xff\xfe\x00", {}, r"is not UTF-8 text; write .* --settings concepts=FILE"),
        (TEXTS.encode(), {"epochs": 0}, "concept needs epochs, batch, k_near, width, norm and rate above zero"),
        (TEXTS.encode(), {"norm": 0.0}, "concept needs epochs, batch, k_near, width, norm and rate above zero"),
        (TEXTS.encode(), {"opposite_weight": -0.1}, "concept needs blocks, opposite_weight and decay of zero or more"),
    ],
)
def test_what_cannot_work_is_refused_at_birth(text: bytes, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "concepts.txt").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        method(tmp_path / "concepts.txt", **changes)


def test_an_absent_file_is_refused_at_birth(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent.txt cannot be read \(No such file or directory\); every node must see it"):
        method(tmp_path / "absent.txt")


def test_a_surrogate_without_texts_is_refused_before_anything_is_loaded(concepts: Path, tmp_path: Path) -> None:
    seen = view(blank(SIDE, device=torch.device("cpu")), tmp_path)
    with pytest.raises(ValueError, match=r"which the surrogate none cannot read; write --method concept --surrogate open_clip:"):
        next(follow(method(concepts), seen))


def test_more_than_one_worker_is_refused(surrogate: Surrogate, concepts: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ask for --workers 1, got 2"):
        next(follow(method(concepts), view(surrogate, tmp_path), workers=Workers(world=2)))


def test_a_diverging_loss_is_named(surrogate: Surrogate, concepts: Path, tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"lower --learning-rate 1e\+30"):
        assert [step.loss for step, _ in follow(method(concepts, learning_rate=1e30), view(surrogate, tmp_path))]


@pytest.mark.parametrize("side", [7, 8, 21, 32])
def test_the_generator_hears_what_it_is_told_at_any_side(side: int) -> None:
    net = ConditionalGenerator(width=4, blocks=2, given=3).eval()
    images = torch.rand((2, 3, side, side), generator=torch.Generator().manual_seed(0))
    one, other = (net(images, torch.full((2, 3), value)) for value in (0.0, 1.0))
    assert one.shape == images.shape
    assert one.abs().max() <= 1
    assert not torch.equal(one, other)
