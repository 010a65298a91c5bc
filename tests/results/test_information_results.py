"""What measurements add up to: gaps beside the right control, correlations with their n, and nothing from too few points."""

import math

import numpy as np
import pyarrow as pa
import pytest

from ray_ue.report.evaluation.association import describe_association, markdown
from ray_ue.results import information
from ray_ue.results.score import Score
from ray_ue.results.tables import INFORMATION
from ray_ue.storage.artifacts import Folder

# method -> (accuracy, nats); MI-UE's table 1, which its text sums up as Spearman 0.7818 and Pearson 0.664
PAPER = {
    "clean": (94.45, 0.7122), "noise": (94.11, 0.6747), "em": (24.17, 0.6400), "ap": (11.21, 0.5871), "ntga": (23.11, 0.6126),
    "ar": (17.41, 0.5622), "rem": (22.94, 0.6290), "sem": (14.78, 0.5747), "gue": (12.04, 0.5895), "tue": (11.25, 0.6094),
    "miue": (9.95, 0.4969),
}  # fmt: skip


def row(copy: str, data: str, accuracy: float, value: float, **changes: object) -> dict:
    row = {
        "run": "/runs/one", "copy": copy, "data": data, "victim": "resnet18", "relabel": "identity", "seed": 0, "accuracy": accuracy,
        "status": "done", "reason": "", "layer": "penultimate", "estimator": "histogram", "settings": '{"bins": 30, "slices": 500}',
        "value": value, "corrected": value - 0.01, "stderr": 0.002, "slices": 500, "rows": 10_000, "logdet": -3.0, "intra": 0.9,
        "inter": 0.1, "fingerprint": "f",
    } | changes  # fmt: skip
    return {"cell": f"{copy if data == 'protected' else ''}{data}{row['victim']}{row['seed']}"} | row


def paper(**changes: object) -> list[dict]:
    """Every copy stands beside one clean and one noise control, which are the same victims."""
    copies = [name for name in PAPER if name not in ("clean", "noise")]
    found = [row(copy, "protected", PAPER[copy][0] / 100, PAPER[copy][1], **changes) for copy in copies]
    return found + [row(copy, data, PAPER[data][0] / 100, PAPER[data][1], **changes) for copy in copies for data in ("clean", "noise")]


def table(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=INFORMATION.schema)


def test_the_papers_table_gives_the_papers_correlation() -> None:
    found = information.lines(table(paper()))
    assert [line.name for line in found if line.data != "protected"] == ["clean", "noise"], "shared controls count once"
    (told,) = information.associations(found)
    assert (told.n, told.reason) == (10, "")
    assert told.spearman == pytest.approx(0.7818, abs=1e-4)
    assert told.pearson == pytest.approx(0.664, abs=1e-3)
    assert describe_association(told) == (
        "histogram (bins 30, slices 500), victim resnet18, relabel identity: accuracy gap against information gap has Spearman 0.78 and "
        "Pearson 0.66 over 10 points."
    )


def test_gaps_are_clean_minus_method_over_seeds() -> None:
    rows = [row("a", data, accuracy, value, seed=seed) for seed, (data, accuracy, value) in enumerate([("protected", 0.2, 0.5)] * 2)]
    rows[1] |= {"value": 0.6, "accuracy": 0.3}
    rows += [row("a", "clean", 0.9, 0.7, seed=seed) for seed in range(3)]
    clean, line = information.lines(table(rows))
    assert (line.gap, line.accuracy_gap) == (pytest.approx(0.15), pytest.approx(0.65))
    assert line.information == Score.of([0.5, 0.6])
    assert (clean.name, clean.accuracy.n) == ("clean", 3)
    assert math.isnan(clean.gap)


def test_few_points_or_equal_ones_are_no_correlation() -> None:
    two = information.associations(information.lines(table([row("a", data, 0.5, 0.5) for data in ("clean", "noise", "protected")])))
    assert [(told.n, told.reason) for told in two] == [(2, "2 points are too few: 3 or more methods are needed")]
    assert math.isnan(two[0].spearman)
    copies = [
        row(copy, data, 0.5, np.random.default_rng(len(copy)).random()) for copy in ("a", "bb") for data in ("clean", "noise", "protected")
    ]
    (flat,) = information.associations(information.lines(table(copies)))
    assert flat.reason == "one of the two gaps is equal for all methods"
    assert "no correlation, because one of the two gaps" in describe_association(flat)
    assert information.associations(information.lines(table([row("a", "protected", 0.5, 0.5)]))) == [], (
        "without a clean control there is no gap"
    )


def test_victims_are_apart_and_together_and_in_their_order_of_depth() -> None:
    names = ("plain", "resnet18", "mlp3", "linear", "vgg11_bn", "mlp2", "lenet5")
    found = information.lines(table([one for victim in names for one in paper(victim=victim)]))
    told = information.associations(found)
    assert [one.n for one in told] == [10] * 7 + [70]
    assert told[-1].among == "all victims and relabels together"
    assert "mixed here" in describe_association(told[-1])
    ordered = information.group_by_depth(found)
    assert len(ordered) == 10
    assert all([line.victim for line in mine] == [*information.DEPTH, "plain"] for mine in ordered.values())
    assert information.group_by_depth(information.lines(table(paper()))) == {}


def test_other_layers_and_settings_are_never_mixed() -> None:
    rows = paper() + paper(layer="block1") + paper(settings='{"bins": 10, "slices": 500}')
    assert [(one.settings[:11], one.n) for one in information.associations(information.lines(table(rows)))] == [
        ('{"bins": 10', 10),
        ('{"bins": 30', 10),
    ]


def test_copies_of_one_name_in_two_runs_are_told_apart() -> None:
    rows = paper() + [one | {"run": "/runs/two", "cell": f"{one['cell']}-2"} for one in paper()]
    names = {line.name for line in information.lines(table(rows))}
    assert {"em of one", "em of two"} <= names
    assert len([name for name in names if name.startswith("clean (em of one, ")]) == 1


def test_what_was_skipped_is_counted_by_reason_and_said() -> None:
    gone = [
        {**row("a", "protected", 0.5, 0.5, seed=seed), "status": "skipped", "reason": "no <weights>", "layer": None} for seed in range(3)
    ]
    made = table([{name: value for name, value in one.items() if name not in ("value", "rows", "estimator")} for one in gone])
    assert information.count_skipped(made) == [("no <weights>", 3)]
    told = markdown(made, title="a | b")
    assert "- no &lt;weights> (3x)" in told
    assert "Nothing: no method was measured together with its clean control." in told
    assert "a \\| b" in told


def test_a_table_is_read_as_it_was_written_and_an_older_one_refused(tmp_path) -> None:
    run = Folder(str(tmp_path))
    assert INFORMATION.read_if_present(run).num_rows == 0
    INFORMATION.write(run, paper())
    assert INFORMATION.read(run).equals(table(paper()))
    run.write_table(INFORMATION.name, table(paper()).drop_columns(["logdet"]))
    with pytest.raises(ValueError, match="lacks the columns logdet; run ray-ue measure again"):
        INFORMATION.read(run)
