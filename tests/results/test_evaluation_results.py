"""Sums that can be checked by hand, and the laws of a headline."""

import math
import random
from pathlib import Path

import pyarrow as pa
import pytest

from ray_ue.exploiter.defenses.registry import DEFENSES
from ray_ue.report.evaluation.words import crafting_spread, doubts, markdown, two_headlines, verdict, warnings
from ray_ue.results.evaluation import OWN_CLEAN, headline, summary
from ray_ue.results.score import Score
from ray_ue.results.tables import RESULTS
from ray_ue.storage.artifacts import Folder

ABOUT = {"title": "A | B", "copies": [{"name": "uc"}]}
FACTS: dict = {"copy": "uc", "fraction": 0.0, "victim": "net", "relabel": "identity", "defense": "none", "chance": 0.1, "classes": 10}


def victim(data: str, accuracy: float, *, seed: int = 0, **changed: object) -> dict:
    done = {"data": data, "seed": seed, "status": "done", "reason": "", "accuracy": accuracy}
    return {**dict.fromkeys(RESULTS.schema.names), **FACTS, **done, **changed}


def failed(data: str, *, seed: int, **changed: object) -> dict:
    return victim(data, math.nan, seed=seed, status="failed", reason="the loss became nan", **changed)


def cells(protected: float, clean: float, noise: float, **changed: object) -> list[dict]:
    """Three seeds of each, one point apart: the spread is 0.01."""
    means = {"protected": protected, "clean": clean, "noise": noise}
    return [victim(data, mean + 0.01 * (seed - 1), seed=seed, **changed) for data, mean in means.items() for seed in range(3)]


def table(*rows: dict) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=RESULTS.schema)


def said(*rows: dict) -> str:
    head = headline(summary(table(*rows)), "uc")
    return " ".join([*verdict(head), *doubts(head)])


def test_a_line_holds_means_spreads_and_drops() -> None:
    (line,) = summary(table(*cells(0.4, 0.9, 0.88)))
    assert (line.protected.n, line.clean.n, line.noise.n, line.part.n) == (3, 3, 3, 0)
    assert line.protected.mean == pytest.approx(0.4)
    assert line.protected.spread == pytest.approx(0.01)
    assert line.drop == pytest.approx(0.5)
    assert line.noise_drop == pytest.approx(0.02)
    assert line.kept == pytest.approx(0.3 / 0.8)
    assert line.failed == ()


def test_the_order_of_rows_does_not_matter() -> None:
    rows = [
        *cells(0.4, 0.9, 0.88),
        *cells(0.7, 0.8, 0.79, defense="jpeg"),
        *cells(0.61, 0.93, 0.9, victim="vit"),
        failed("protected", seed=3),
    ]
    expected = [repr(line) for line in summary(table(*rows))]
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        assert [repr(line) for line in summary(table(*rows))] == expected


@pytest.mark.parametrize("data", ["protected", "clean", "noise"])
def test_a_failed_cell_enters_no_mean(data: str) -> None:
    rows = cells(0.4, 0.9, 0.88)
    bad = victim(data, 0.0, seed=3, status="failed", reason="the loss became nan", perturbed=0.0, ami=0.0)
    (before,), (after,) = summary(table(*rows)), summary(table(*rows, bad))
    assert (after.protected, after.clean, after.noise, after.perturbed.n) == (before.protected, before.clean, before.noise, 0)
    assert after.failed == (("the loss became nan", 1),)


def test_a_mixture_stands_beside_the_pure_controls_and_its_clean_part() -> None:
    mixed = [victim("protected", 0.8, fraction=0.5), victim("clean-part", 0.85, fraction=0.5)]
    pure, half = summary(table(*cells(0.4, 0.9, 0.88), *mixed))
    assert (pure.fraction, half.fraction) == (0.0, 0.5)
    assert (half.protected.mean, half.part.mean) == (0.8, 0.85)
    assert half.clean.mean == pytest.approx(0.9)
    assert headline([pure, half], "uc").lines == (pure,)


def test_controls_whose_protected_victims_never_ran_are_shown() -> None:
    (line,) = summary(table(victim("clean", 0.9)))
    assert (line.protected.n, line.clean.n) == (0, 1)
    assert math.isnan(line.drop)
    assert math.isnan(line.kept)
    assert "no victim on the protected copy finished" in said(victim("clean", 0.9))


def test_scores_ignore_what_is_missing() -> None:
    assert Score.of([0.5, None, math.nan, 0.7]) == Score.of([0.5, 0.7])
    assert Score.of([0.5, None]).n == 1
    assert math.isnan(Score.of([0.5]).spread)
    assert math.isnan(Score.of([]).mean)


def test_the_worst_case_keeps_the_largest_share_not_the_largest_accuracy() -> None:
    ten = [*cells(0.4, 0.9, 0.88), *cells(0.6, 0.8, 0.79, defense="jpeg")]  # jpeg keeps 0.5 / 0.8
    two = cells(0.7, 0.95, 0.94, relabel="halves", chance=0.5, classes=2)  # higher accuracy, but only 0.2 / 0.45
    head = headline(summary(table(*ten, *two)), "uc")
    assert (head.worst.relabel, head.worst.defense) == ("identity", "jpeg")
    assert head.worst.kept == pytest.approx(0.5 / 0.8)  # of what the undefended control reaches
    assert head.drop == pytest.approx(0.3)  # from the undefended control
    assert head.noise_drop == pytest.approx(0.11)
    assert head.noise_share == pytest.approx(0.11 / 0.3)
    assert [line.relabel for line in head.lines].count("halves") == 1


def test_a_weak_victim_is_no_worst_case_because_it_never_learnt_much() -> None:
    strong, weak = cells(0.5, 0.9, 0.89, victim="fast"), cells(0.3, 0.31, 0.31, victim="linear")
    head = headline(summary(table(*strong, *weak)), "uc")
    assert head.worst.victim == "fast"
    assert head.worst.kept == pytest.approx(0.4 / 0.8)
    assert head.lines[1].kept == pytest.approx(0.2 / 0.8)  # of what the best victim learns from clean images, not of its own 0.21


def test_below_chance_nothing_is_kept() -> None:
    assert headline(summary(table(*cells(0.05, 0.9, 0.88))), "uc").worst.kept == 0


def test_random_labels_are_no_part_of_the_headline() -> None:
    rows = [*cells(0.4, 0.9, 0.88), *cells(0.9, 0.9, 0.9, relabel="random:10")]
    assert headline(summary(table(*rows)), "uc").worst.relabel == "identity"


def test_labels_that_clean_images_do_not_teach_are_left_out_by_name() -> None:
    told = said(*cells(0.4, 0.9, 0.88), *cells(0.12, 0.11, 0.1, relabel="pseudo"))
    assert "Not compared, because clean images do not teach these labels" in told
    assert "near chance): victim net, relabel pseudo, defense none." in told


def test_a_large_drop_is_a_number_and_no_doubt() -> None:
    told = said(*cells(0.4, 0.9, 0.88))
    assert "Victims reach 40.0 ± 1.0 % (n=3)" in told
    assert "90.0 ± 1.0 % (n=3), and chance is 10.0 %" in told
    assert "a drop of 50.0 points (95 % interval over seeds: 47.7 to 52.3), and 37.5 % of what clean images teach is kept" in told
    assert "random noise at the same budget gives a drop of 2.0 points, 4.0 % of that drop" in told
    assert "Nothing was shown" not in told


def test_the_better_of_plain_and_filtered_test_images_counts() -> None:
    made = cells(0.4, 0.9, 0.88, defense="jpeg")
    rows = [row | {"filtered": row["accuracy"] + change} for row, change in zip(made, [0.2] * 3 + [-0.3] * 6)]
    line = next(line for line in summary(table(*rows)) if line.defense == "jpeg")
    assert line.protected.mean == pytest.approx(0.6)
    assert line.clean.mean == pytest.approx(0.9)


def test_a_table_from_before_filtered_test_images_can_be_read(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    folder.write_table(RESULTS.name, table(*cells(0.4, 0.9, 0.88)).drop_columns(["filtered"]))
    assert RESULTS.read(folder)["filtered"].null_count == 9
    folder.write_table(RESULTS.name, table(*cells(0.4, 0.9, 0.88)).drop_columns(["filtered", "accuracy"]))
    with pytest.raises(ValueError, match="lacks the columns accuracy"):
        RESULTS.read(folder)


def test_every_defense_that_owns_clean_images_is_flagged() -> None:
    assert {name for name, defense in DEFENSES.items() if defense.owns_clean} == set(OWN_CLEAN)


@pytest.mark.parametrize(("pattern", "told"), [(0.6, "protects more"), (0.41, "cannot be told from it"), (0.2, "protects less")])
def test_a_copy_is_compared_with_random_patterns_of_its_groups(pattern: float, told: str) -> None:
    random = [victim("pattern", pattern + 0.01 * (seed - 1), seed=seed) for seed in range(3)]
    found = said(*cells(0.4, 0.9, 0.88), *random)
    assert f"a random pattern per group of the same energy gives a drop of {100 * (0.9 - pattern):.1f} points: this copy {told}." in found
    assert headline(summary(table(*cells(0.4, 0.9, 0.88), *random)), "uc").beats_patterns is (told == "protects more")


def test_without_that_control_what_the_patterns_add_is_unknown() -> None:
    assert "no control with a random pattern per group" in said(*cells(0.4, 0.9, 0.88))


def test_a_drop_whose_interval_includes_0_shows_nothing() -> None:
    assert "Nothing was shown: the 95 % interval of the drop over seeds includes 0." in said(*cells(0.88, 0.9, 0.88))


def test_one_seed_shows_nothing() -> None:
    assert "Nothing was shown: with one seed" in said(*(row for row in cells(0.2, 0.9, 0.88) if row["seed"] == 0))


def test_the_cost_of_a_defense_is_not_the_protection() -> None:
    told = said(*cells(0.2, 0.9, 0.88), *cells(0.6, 0.61, 0.6, defense="adversarial"))
    assert "Beyond what this victim and defense cost on clean images too (29.0 points), nothing was shown" in told


def test_a_defense_that_owns_clean_images_is_flagged_and_the_next_one_named() -> None:
    told = said(*cells(0.4, 0.9, 0.88), *cells(0.7, 0.9, 0.88, defense="jpeg:10+early:5"))
    assert "The defense jpeg:10+early:5 assumes that the exploiter owns clean images. Without such defenses: victim net" in told
    assert "defense none, 40.0 ± 1.0 % (n=3), 37.5 % kept" in told


def test_no_headline_without_an_undefended_control() -> None:
    told = said(*cells(0.4, 0.9, 0.88, defense="jpeg"))
    assert "There is no headline for uc" in told
    assert "no clean control without a defense (none) finished" in told


def test_everyday_and_determined_exploiters_have_a_headline_each() -> None:
    rows = [*cells(0.3, 0.9, 0.88), *cells(0.4, 0.9, 0.88, defense="rrc"), *cells(0.8, 0.85, 0.8, defense="at:4")]
    everyday, determined = two_headlines(summary(table(*rows)), "uc")
    assert everyday.startswith("Everyday: who trains on this copy as usual learns at most 37.5 ± 1.3 %")
    assert "defense rrc; 2 of 7 everyday treatments" in everyday
    assert "who also tries at:4 learns at most 87.5 ± 1.3 %" in determined
    assert "Diffusion purification" in determined
    assert "--defenses determined" in two_headlines(summary(table(*cells(0.3, 0.9, 0.88))), "uc")[1]
    assert two_headlines([], "uc") == []


def test_many_lines_that_cannot_be_compared_are_counted() -> None:
    told = said(*(row for name in "abcde" for row in cells(0.4, 0.9, 0.88, defense=name)))
    assert "defense a; victim net, relabel identity, defense b; victim net, relabel identity, defense c; and 2 more." in told


@pytest.mark.parametrize(("noise", "count"), [(0.86, 0), (0.80, 1)])
def test_a_noise_control_far_from_the_clean_one_warns(noise: float, count: int) -> None:
    found = warnings(summary(table(*cells(0.4, 0.9, noise))))
    assert len(found) == count
    assert all("the harness or the budget is suspect" in text for text in found)


def test_copies_that_share_a_suspect_control_share_its_warning() -> None:
    shared = [row for copy in ("one", "two") for row in cells(0.4, 0.9, 0.8, copy=copy)]
    found = warnings(summary(table(*shared, *cells(0.4, 0.9, 0.7, copy="three"))))
    assert {text.partition(" lies ")[0] for text in found} == {"The noise control of one, two", "The noise control of three"}


def test_markdown_starts_with_the_headline_and_cannot_be_broken_by_names() -> None:
    text = markdown(table(*cells(0.4, 0.9, 0.88, victim="a|b\nc <i>"), failed("protected", seed=3, victim="a|b\nc <i>")), ABOUT)
    lines = text.splitlines()
    assert lines[0] == "# A \\| B"
    assert lines[2] == "## uc"
    assert lines[4].startswith(
        "- Everyday: who trains on this copy as usual learns at most 37.5 ± 1.3 % of what clean images teach (victim a"
    )
    assert lines[6].startswith("- The only case: victim a\\|b c &lt;i>")
    (row,) = [line for line in lines if line.startswith("| a")]
    assert row.startswith(
        "| a\\|b c &lt;i> | identity | none | 37.5 | 40.0 ± 1.0 (3) | 90.0 ± 1.0 (3) | 50.0 | 88.0 ± 1.0 (3) | 2.0 | – | 10.0 | 1 |"
    )
    assert "- victim a\\|b c &lt;i>, relabel identity, defense none: the loss became nan (1x)" in lines


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = Folder.at(str(tmp_path))
    wrote = RESULTS.write(run, cells(0.4, 0.9, 0.88))
    assert RESULTS.read(run).equals(wrote)


def test_a_foreign_table_is_refused_by_its_missing_columns(tmp_path: Path) -> None:
    run = Folder.at(str(tmp_path))
    run.write_table("results.parquet", table(*cells(0.4, 0.9, 0.88)).drop_columns(["victim", "seed"]))
    with pytest.raises(ValueError, match="lacks the columns seed, victim"):
        RESULTS.read(run)


def test_copies_that_differ_in_their_seed_alone_give_the_spread_over_crafting() -> None:
    made = [row | {"copy": name} for name, mean in (("a", 0.2), ("b", 0.4), ("c", 0.6)) for row in cells(mean, 0.9, 0.88)]
    lines = summary(table(*made))
    run = {"copies": [{"name": "a", "recipe": {"method": "uc", "seed": 0}}, {"name": "b", "recipe": {"method": "uc", "seed": 1}}]}
    run["copies"] += [{"name": "c", "recipe": {"method": "texture", "seed": 0}}, {"name": "d", "recipe": None}]
    (told,) = crafting_spread(lines, run, "a")
    assert told == "Over 2 crafting seeds (a, b), everyday exploiters keep 25.0 ± 17.7 % at most."
    assert crafting_spread(lines, run, "b") == [told]
    assert crafting_spread(lines, run, "c") == crafting_spread(lines, run, "d") == []
