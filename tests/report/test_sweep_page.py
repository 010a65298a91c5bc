"""The page of a sweep: complete, self-contained, honest about what the order does not show, and as a real browser shows it."""

import json
import math
import random
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report.test_evaluation_page import HOSTILE, Seen, browse, check_page

from ray_ue.report.sweep.folder import SweepFolder, numeric
from ray_ue.report.sweep.page import write_sweep_page
from ray_ue.report.sweep.scatter import lower_left
from ray_ue.results.tables import RESULTS, TRIALS
from ray_ue.storage.artifacts import Folder

CLUSTERS, BUDGETS, RELABELS, SEEDS, CHANCE, CLEAN = (5, 10, 20), ("8", "16", "0.1255"), ("identity", "super:5"), (0, 1, 2), 0.1, 0.7
BOTH = {"clusters": list(CLUSTERS), "budget": list(BUDGETS)}


def accuracy(levels: int, clusters: int, relabel: str) -> float:
    """What a made-up victim reaches: less for more levels and clusters, more with merged labels."""
    return CLEAN - 0.006 * levels - 0.002 * clusters + (0.02 if relabel == "super:5" else 0.0)


def victim(copy: str, data: str, relabel: str, seed: int, mean: float, *, spread: float = 0.01, **changed: object) -> dict:
    done = {"copy": copy, "data": data, "relabel": relabel, "seed": seed, "accuracy": mean + spread * (seed - 1), "victim": "fast"}
    done |= {"fraction": 0.0, "defense": "none", "status": "done", "reason": "", "chance": CHANCE, "classes": 10, "images": 400}
    return {**done, "seconds": 2.0, "cell": f"{copy}{data}{relabel}{seed}", **changed}


def evaluated(name: str, means: dict[str, float], *, spread: float = 0.01, seeds: tuple[int, ...] = SEEDS) -> list[dict]:
    """All victims of one copy, beside its controls."""
    found = []
    for relabel, mean in means.items():
        for data, level in (("protected", mean), ("clean", CLEAN), ("noise", CLEAN - 0.01)):
            found += [victim(name, data, relabel, seed, level, spread=spread) for seed in seeds]
    return found


def trial(place: dict, mean: float, *, levels: int, relabel: str, **changed: object) -> dict:
    name = "_".join(f"{axis}-{value}" for axis, value in place.items())
    row = {"name": name, "status": "done", "reason": "", "point": json.dumps(place), "kept": (mean - CHANCE) / (CLEAN - CHANCE)}
    row |= {"accuracy": mean, "spread": 0.01, "n": 3, "victim": "fast", "relabel": relabel, "defense": "none", "levels": levels}
    row |= {"most": levels, "psnr": 48.0 - levels / 2, "ssim": 0.99 - levels / 200, "passes": 4000, "seconds": 61.0, "images": 100}
    return {**row, "fingerprint": "00ff", **changed}


def request(axes: dict) -> dict:
    return {
        "axes": axes, "recipe": {"method": "uc"}, "grid": {"relabels": "identity,super:5"}, "source": "photos", "test": f"test {HOSTILE}",
        "search": "grid", "seeds": 3, "machine": {"cores": 2}, "versions": {"ray-ue": "0.1.0"}, "seconds": 61.0,
        "limits": [f"Few. {HOSTILE}"],
    }  # fmt: skip


def lay(run: Folder, axes: dict, trials: list[dict], victims: list[dict]) -> Folder:
    run.write_json("sweep.json", request(axes))
    TRIALS.write(run, trials)
    if victims:
        RESULTS.write(run.child("evaluation"), victims)
    return run


def tried() -> tuple[list[dict], list[dict]]:
    """A grid of two axes with one failed and one stopped trial."""
    trials, victims = [], []
    for clusters, budget in product(CLUSTERS, BUDGETS):
        levels = int(numeric("budget", budget))
        means = {relabel: accuracy(levels, clusters, relabel) for relabel in RELABELS}
        one = trial({"clusters": clusters, "budget": budget}, means["super:5"], levels=levels, relabel="super:5")
        if (clusters, budget) == (5, "8"):
            trials.append({**one, "status": "failed", "reason": HOSTILE, "kept": None, "accuracy": None})
        elif (clusters, budget) == (20, "8"):
            trials.append({**one, "status": "stopped", "reason": "weak after one seed"})
        else:
            trials.append(one)
            victims += evaluated(one["name"], means)
    return trials, victims


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    run = lay(Folder.at(str(tmp_path_factory.mktemp("full"))), BOTH, *tried())
    write_sweep_page(run)
    return run


@pytest.fixture(scope="module")
def page(full: Folder) -> str:
    return full.read("report.html").decode()


def shown(run: Folder) -> Seen:
    """The page of a sweep's folder, checked."""
    write_sweep_page(run)
    return check_page(run.read("report.html").decode())


FIGURES = {"front-scatter", "front-visibility", "heat-map", "trials-table", "unfinished-table", *(f"along-{at}" for at in range(6))}


def test_the_page_is_one_file_with_every_figure(page: str) -> None:
    assert check_page(page).figures() == FIGURES


def test_names_from_data_stay_text(page: str, full: Folder) -> None:
    assert HOSTILE in Seen(page).words
    assert "<script" not in full.read("sweep.md").decode()


def test_the_order_of_trials_changes_nothing(full: Folder, page: str, tmp_path: Path) -> None:
    trials, victims = tried()
    random.Random(0).shuffle(trials)
    random.Random(1).shuffle(victims)
    run = lay(Folder.at(str(tmp_path)), BOTH, trials, victims)
    write_sweep_page(run)
    assert run.read("report.html").decode() == page
    assert run.read("sweep.md") == full.read("sweep.md")


def test_drawings_take_the_colours_of_the_page(page: str) -> None:
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert "currentColor" in drawings
    assert not re.search(r"#0[01]0[0-9a-f]0|(fill|stroke): #", drawings)


def test_the_headline_says_what_is_on_the_front_and_what_became_of_the_rest(page: str, full: Folder) -> None:
    words, text = Seen(page).words, full.read("sweep.md").decode()
    for said in (
        "9 settings tried: 7 finished, 1 stopped early, 1 failed.",
        "no other tried setting protects more at this visibility",
    ):
        assert said in words
        assert said in text
    assert "the worst of 1 victim, 2 labellings and 1 defense, and no more" in words
    on = [told["data-trial"] for name, told in Seen(page).tags if name == "tr" and told.get("class") == "front"]
    assert on == ["clusters-20_budget-0.1255", "clusters-20_budget-16", "clusters-10_budget-8"]
    assert [told["data-trial"] for told in Seen(page).all("article")] == on
    assert text.index("clusters 20, budget 0.1255: 64.7 % kept") < text.index("clusters 20, budget 16:") < text.index("## Trials")


def test_the_table_and_the_heat_map_hold_the_numbers_of_the_trials(page: str) -> None:
    wanted = {row["name"]: row["kept"] for row in tried()[0] if row["status"] == "done"}
    seen, here, line = Seen(page), "", {}
    table, hot = {}, []
    for tag, told in seen.tags:
        here = told.get("id", "") if tag == "figure" else here
        line = told if tag == "tr" else line
        if tag == "td" and told.get("data-column") == "kept":
            if here == "trials-table":
                table[line["data-trial"]] = float(told["data-value"])
            elif here == "heat-map":
                hot.append(float(told["data-value"]))
    assert table == pytest.approx(wanted)
    assert sorted(hot) == pytest.approx(sorted(wanted.values()))


def test_bars_are_the_seeds_spread_in_the_unit_of_what_is_kept(full: Folder) -> None:
    of = SweepFolder.of(full)
    score = of.score(of.on_front()[0])
    assert score.spread == pytest.approx(0.01 / (CLEAN - CHANCE))
    assert score.n == 3


def pair(tmp_path: Path, *, spread: float, seeds: tuple[int, ...]) -> Seen:
    """Two trials whose worst cases are one point of accuracy apart."""
    trials, victims = [], []
    for clusters, mean in ((5, 0.40), (10, 0.41)):
        known = spread if len(seeds) > 1 else None
        trials.append(trial({"clusters": clusters}, mean, levels=8, relabel="identity", spread=known, n=len(seeds)))
        victims += evaluated(f"clusters-{clusters}", {"identity": mean}, spread=spread, seeds=seeds)
    return shown(lay(Folder.at(str(tmp_path)), {"clusters": [5, 10]}, trials, victims))


@pytest.mark.parametrize(("spread", "close"), [(0.02, True), (0.001, False)])
def test_a_difference_within_the_seeds_spread_is_said(spread: float, close: bool, tmp_path: Path) -> None:
    said = "Within the seeds' spread: clusters 10 cannot be distinguished from the best one (clusters 5)"
    assert (said in pair(tmp_path, spread=spread, seeds=SEEDS).words) is close


def test_one_seed_shows_no_order(tmp_path: Path) -> None:
    assert "The order is not significant: with one seed the spread is unknown" in pair(tmp_path, spread=0.01, seeds=(0,)).words


def test_one_axis_has_no_heat_map(tmp_path: Path) -> None:
    seen = pair(tmp_path, spread=0.01, seeds=SEEDS)
    assert seen.figures() == {"front-scatter", "trials-table", "along-0"}
    assert "Every trial finished." in seen.words


def test_the_front_is_drawn_over_what_measures_visibility(tmp_path: Path) -> None:
    def drawn(name: str, **seen: list[float | None]) -> str:
        trials = [
            trial(
                {"clusters": clusters},
                0.3 + clusters / 100,
                levels=8,
                relabel="identity",
                **{key: values[at] for key, values in seen.items()},
            )
            for at, clusters in enumerate((5, 10, 20))
        ]
        run = lay(Folder.at(str(tmp_path / name)), {"clusters": [5, 10, 20]}, trials, [])
        shown(run)
        return run.read("report.html").decode()

    page = drawn("lpips", lpips=[0.3, 0.2, 0.1], pattern=[0.41, 0.42, None])
    assert "over how visible the change is (LPIPS; 0: no change)" in page
    assert "clusters 5: 41.7 % at LPIPS 0.300" in page
    assert 'data-column="pattern"' in page
    partly = drawn("ssim", lpips=[0.3, None, 0.1], ssim=[0.8, 0.9, 0.95])
    assert "clusters 10: 50.0 % at 1 − SSIM 0.100" in partly
    assert "over how visible the change is" not in drawn("alone", ssim=[0.9, 0.9, None])


def test_the_joined_points_have_none_below_and_to_their_left() -> None:
    rows = [{"x": x, "kept": kept} for x, kept in ((0.1, 0.9), (0.2, 0.95), (0.2, 0.5), (0.3, 0.6), (0.4, 0.2))]
    assert [(row["x"], row["kept"]) for row in lower_left(rows, place=lambda row: row["x"])] == [(0.1, 0.9), (0.2, 0.5), (0.4, 0.2)]


def test_axes_of_words_are_tables_and_no_curves(tmp_path: Path) -> None:
    axes = {"method": ["uc", r"$\frac{$"], "aim": ["shift", "random"]}
    trials = [
        trial(dict(zip(axes, values)), 0.3 + at / 50, levels=8, relabel="identity") for at, values in enumerate(product(*axes.values()))
    ]
    victims = [row for one in trials for row in evaluated(one["name"], {"identity": one["accuracy"]})]
    seen = shown(lay(Folder.at(str(tmp_path)), axes, trials, victims))
    assert seen.figures() == {"front-scatter", "heat-map", "trials-table"}
    assert "No axis to draw: no axis with several numbers" in seen.words
    assert r"method $\frac{$, aim shift" in seen.words


def test_a_third_axis_shows_the_lowest_of_each_place(tmp_path: Path) -> None:
    axes = {"clusters": [5, 10], "budget": ["8", "16"], "method": ["uc", "tap"]}
    trials = [
        trial(dict(zip(axes, values)), 0.3 + at / 50, levels=int(values[1]), relabel="identity")
        for at, values in enumerate(product(*axes.values()))
    ]
    words = shown(lay(Folder.at(str(tmp_path)), axes, trials, [])).words
    assert words.count("best of 2") == 4
    assert "The evaluation of the copies was not found" in words


def test_no_finished_trial_is_said(tmp_path: Path) -> None:
    trials = [
        {**trial({"clusters": 5}, 0.3, levels=8, relabel="identity"), "status": "failed", "reason": f"no disk {HOSTILE}", "kept": None}
    ]
    seen = shown(lay(Folder.at(str(tmp_path)), {"clusters": [5, 10]}, trials, []))
    for said in ("No trial finished, so there is nothing", "No front:", "No table: no trial finished.", f"no disk {HOSTILE}"):
        assert said in seen.words
    assert seen.figures() == {"unfinished-table"}


def test_a_sweep_without_trials_or_a_measured_worst_case_still_has_a_page(tmp_path: Path) -> None:
    assert "0 settings tried" in shown(lay(Folder.at(str(tmp_path / "none")), {"clusters": [5]}, [], [])).words
    unknown = {**trial({"clusters": 5}, 0.3, levels=8, relabel="identity"), **dict.fromkeys(("kept", "accuracy", "victim", "ssim"))}
    words = shown(lay(Folder.at(str(tmp_path / "one")), {"clusters": [5]}, [unknown], [])).words
    assert "No finished trial can be compared" in words
    assert "None" not in words


def test_budgets_are_one_axis_however_they_are_written() -> None:
    assert [numeric("budget", value) for value in ("8", "8/255", "0.0314", 16)] == [8, 8, 8, 16]
    assert math.isnan(numeric("method", "uc"))
    assert numeric("learning_rate", 0.1) == 0.1


def test_a_browser_shows_every_figure(full: Folder, tmp_path: Path) -> None:
    found = browse(full.path("report.html"), tmp_path, "--dump-dom")
    assert "CONSOLE" not in found.stderr
    assert Seen(found.stdout).figures() == FIGURES


PROBE = """<script>
const seen = { wide: innerWidth, page: root.scrollWidth, theme: toggle.textContent };
document.documentElement.dataset.probe = JSON.stringify(seen);
</script></body>"""


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_its_window_and_is_not_blank(width: int, page: str, tmp_path: Path) -> None:
    (tmp_path / "probed.html").write_text(page.replace("</body>", PROBE))
    found = browse(str(tmp_path / "probed.html"), tmp_path / "profile", f"--window-size={width},900", "--dump-dom")
    (root,) = Seen(found.stdout).all("html")
    seen = json.loads(root["data-probe"])
    assert seen["page"] <= seen["wide"], "the page scrolls sideways"
    shot = tmp_path / "shot.png"
    browse(str(tmp_path / "probed.html"), tmp_path / "profile", f"--window-size={width},1600", f"--screenshot={shot}")
    with Image.open(shot) as image:
        assert np.asarray(image.convert("L")).std() > 10
