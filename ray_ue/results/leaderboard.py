"""A leaderboard: one line per copy, from evaluations that have controls, seeds and a worst case. Shares are fractions from 0 to 1."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from ray_ue.results.evaluation import Headline, copy_names, headline, summary
from ray_ue.results.tables import ParquetTable

LEAST_SEEDS = 3

LEADERBOARD = ParquetTable(
    name="leaderboard.parquet",
    advice="it was not written by this version of ray-ue leaderboard",
    added=("place",),
    schema=pa.schema(
        [
            ("data_set", pa.string()),
            ("digest", pa.string()),  # of the test images at the victims' size: lines of one data set share it
            ("copy", pa.string()),
            ("place", pa.string()),  # a digest of where it lay: copies from elsewhere have no fingerprint
            ("method", pa.string()),
            ("groups", pa.string()),  # kmeans (no labels), label, none, or empty where the recipe is unknown
            ("levels", pa.int64()),  # budget, in steps of 255
            ("psnr", pa.float64()),  # dB
            ("ssim", pa.float64()),
            ("everyday", pa.float64()),  # kept by the worst case of everyday treatments
            ("everyday_spread", pa.float64()),
            ("everyday_place", pa.string()),
            ("determined", pa.float64()),  # the same over all defenses that were tried; null where only everyday ones were
            ("determined_spread", pa.float64()),
            ("determined_place", pa.string()),
            ("defenses", pa.string()),  # tried, comma-separated
            ("victims", pa.string()),
            ("seeds", pa.int64()),  # of the worst case
            ("clean", pa.float64()),  # accuracy of the best undefended victim on clean images, with the labels of the everyday worst case
            ("noise_kept", pa.float64()),  # by random noise, at the everyday worst case
            ("pattern_kept", pa.float64()),  # by a random pattern per group; null for a copy without groups
            ("image_size", pa.int64()),  # side at which victims saw the images
            ("train_rows", pa.int64()),
            ("recipe", pa.string()),  # JSON, as are the next two
            ("fingerprints", pa.string()),
            ("versions", pa.string()),
        ]
    ),
)


def entries(
    table: pa.Table, run: Mapping[str, Any], *, data_set: str, everyday: Collection[str], wanted: Collection[str]
) -> list[dict[str, Any]]:
    """A line for each copy of an evaluation; a `ValueError` names what an evaluation lacks.

    `everyday` are the defenses that everybody uses, `wanted` those of them without which there is no everyday worst case.
    """
    lines = summary(table)
    if not (digest := run.get("digests", {}).get("test")):
        raise ValueError("it was written by an earlier version; run ray-ue evaluate again with the same flags, which trains nothing anew")
    about = {copy["name"]: copy for copy in run["copies"]}
    found = []
    for copy in copy_names(table, run):
        usual, whole = headline(lines, copy, defenses=everyday), headline(lines, copy)
        described = about.get(copy, {})
        recipe, facts = described.get("recipe") or {}, described.get("facts") or {}
        grouped = described.get("grouped", bool(recipe) and recipe.get("per") != "image")  # earlier versions did not write it
        _refuse(copy, usual, wanted=wanted, grouped=grouped and facts.get("psnr_mean") is not None)
        worst, beyond = usual.worst, {line.defense for line in whole.lines} - set(everyday)
        found.append(
            {
                "data_set": data_set,
                "digest": digest,
                "copy": copy,
                "place": hashlib.sha256(described.get("uri", "").encode()).hexdigest()[:16],
                "method": recipe.get("method", ""),
                "groups": recipe.get("groups", "") if grouped or not recipe else "none",
                "levels": described.get("levels"),
                "psnr": facts.get("psnr_mean"),
                "ssim": facts.get("ssim_mean"),
                "everyday": worst.kept,
                "everyday_spread": worst.kept_spread,
                "everyday_place": worst.place,
                "determined": whole.worst.kept if beyond else None,
                "determined_spread": whole.worst.kept_spread if beyond else None,
                "determined_place": whole.worst.place if beyond else "",
                "defenses": ",".join(sorted({line.defense for line in whole.lines})),
                "victims": ",".join(sorted({line.victim for line in whole.lines})),
                "seeds": worst.protected.n,
                "clean": worst.undefended.mean,
                "noise_kept": worst.kept_by(worst.noise),
                "pattern_kept": worst.kept_by(worst.pattern) if worst.pattern.n else None,
                "image_size": run.get("chosen", {}).get("image_size"),
                "train_rows": run.get("chosen", {}).get("train_rows"),
                "recipe": json.dumps(recipe, sort_keys=True),
                "fingerprints": json.dumps(described.get("fingerprints") or {}, sort_keys=True),
                "versions": json.dumps(run.get("versions", {}), sort_keys=True),
            }
        )
    return found


def _refuse(copy: str, usual: Headline, *, wanted: Collection[str], grouped: bool) -> None:
    """Raise `ValueError` for a copy without everyday worst case, seeds or controls."""
    if missing := sorted(set(wanted) - {line.defense for line in usual.lines}):
        reasons = [why for why, lines in usual.left_out if missing[0] in {line.defense for line in lines}]
        cure = "train its victims longer, or with other labels" if reasons else "evaluate it with --defenses everyday"
        lacking = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} {'not comparable' if reasons else 'missing'}"
        raise ValueError(f"{copy} has no everyday worst case: {', because '.join([lacking, *reasons[:1]])}; {cure}")
    worst = usual.worst
    if (least := min(worst.protected.n, worst.undefended.n)) < LEAST_SEEDS:
        raise ValueError(f"{copy} has {least} seeds in its worst case, and {LEAST_SEEDS} are the least; evaluate it with --seeds 5")
    controls = {"random noise": worst.noise.n, **({"a random pattern per group": worst.pattern.n} if grouped else {})}
    if lacking := [name for name, count in controls.items() if not count]:
        raise ValueError(f"{copy} lacks the control with {' and '.join(lacking)} in its worst case ({worst.place})")


def merged(before: Sequence[Mapping[str, Any]], new: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All lines, best everyday worst case first within a data set; a copy that is there already is replaced.

    A `ValueError` where a data set of that name has other test images, or victims saw them at another size.
    """
    lines = {_key(line): dict(line) for line in before}
    for line in new:
        for other in lines.values():
            if other["data_set"] == line["data_set"] and other["digest"] != line["digest"]:
                sizes = f"{other['image_size']} and {line['image_size']} pixels"
                raise ValueError(
                    f"{line['data_set']} has lines with other test images or another size ({sizes}): they cannot be compared; "
                    "name this one otherwise with --data-set"
                )
        lines[_key(line)] = dict(line)
    return sorted(lines.values(), key=lambda line: (line["data_set"], line["everyday"], line["determined"] or 0.0, line["copy"]))


def _key(line: Mapping[str, Any]) -> tuple[str, str, str]:
    """What makes two lines one: the same copy in the same data set."""
    return line["data_set"], line["copy"], json.loads(line["fingerprints"]).get("export", "") or line["place"] or ""
