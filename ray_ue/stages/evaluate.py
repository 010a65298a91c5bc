"""Evaluate: from protected copies to a table of trained victims. It joins data, labels and cells; it trains nothing itself."""

import time
from dataclasses import asdict, dataclass, replace

from ray_ue import results
from ray_ue.artifacts import Artifact, Folder, finished, opened
from ray_ue.grid import Grid, Place, places
from ray_ue.progress import say
from ray_ue.recipe import Recipe, Resources
from ray_ue.stages.answers import Answers
from ray_ue.stages.base import PACKAGES
from ray_ue.stages.cell import Job, Pixels
from ray_ue.stages.copies import Copy, open_copy
from ray_ue.stages.dataset import Data
from ray_ue.stages.lanes import train_all
from ray_ue.stages.looks import look
from ray_ue.stages.session import Machines, session
from ray_ue.versions import installed

REQUEST = "run.json"
PARTS = ("clean", "noise", "protected", "clean-part")
LIMITS = [
    "Only the victims, labels and defenses of this grid were tried: an exploiter may find better ones.",
    "Protection is not retroactive: whoever has the clean images can use them.",
    "Static defenses and purified copies change the training images alone; victims are tested on untouched clean images.",
    "The exploiter's superclasses, pseudo-labels and finer labels are made once, from clean images, alike for controls and copies.",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """One request: copies, the clean source, the test set, the grid, the folder that the run writes, and where cells lie.

    Trials of a sweep share `cells`; `parts` says which of PARTS are trained, `pictured` of which copies the page shows images.
    """

    copies: list[Copy]
    clean: str
    test: str
    grid: Grid
    home: Folder
    recipe: Recipe  # of reading
    resources: Resources
    cells: Folder
    pictured: tuple[str, ...]
    parts: tuple[str, ...] = PARTS


def run(asked: Evaluation) -> None:
    """Train what is missing of the grid and write the run folder: cells, `results.parquet`, `run.json`, `looks/`."""
    began = time.monotonic()
    with session(part=asked.resources.part) as machines:
        data = Data(
            grid=asked.grid,
            clean_uri=asked.clean,
            test_uri=asked.test,
            copies=asked.copies,
            work=asked.cells,
            resources=asked.resources,
            machines=machines,
            recipe=asked.recipe,
        )
        data.refuse_shared()
        answers = Answers(data=data)
        named = asked.grid.relabel_names(classes=answers.classes)
        labels, wrong = label_all(answers, named)
        cells = lay_out(data, answers, labels, named, parts=asked.parts)
        for copy in asked.copies:
            if copy.name in asked.pictured:
                look(data, copy, home=asked.home)
        request = describe(asked, data, answers, labels, machines, named)
        asked.home.write_json(REQUEST, request | {"seconds": 0.0})
        done = fulfil(cells, home=asked.home, machines=machines, resources=asked.resources)
        agreed = {(copy.name, spec): answers.agreement(copy, made) for copy in asked.copies for spec, made in labels.items()}
    rows = [row_of(place, asked.copies, job, facts, labels, wrong, agreed) for (place, job), facts in zip(cells, done, strict=True)]
    results.write(asked.home, rows)
    asked.home.write_json(REQUEST, request | {"seconds": round(time.monotonic() - began, 1)})


def label_all(answers: Answers, named: tuple[str, ...]) -> tuple[dict[str, Artifact], dict[str, str]]:
    """(labels by relabel, why the others could not be made); a `ValueError` when none could."""
    labels: dict[str, Artifact] = {}
    wrong: dict[str, str] = {}
    for spec in named:
        try:
            labels[spec] = answers.labels(spec)
        except ValueError as error:
            wrong[spec] = str(error)
            say(f"  failed   relabel {spec}: {error}")
    if not labels:
        raise ValueError("; ".join(dict.fromkeys(wrong.values())))
    for spec, made in labels.items():
        say(f"  labels   {spec}: {made.facts['classes']} classes, chance {100 * made.facts['chance']:.1f} %")
    return labels, wrong


def lay_out(
    data: Data, answers: Answers, labels: dict[str, Artifact], named: tuple[str, ...], *, parts: tuple[str, ...]
) -> list[tuple[Place, Job | None]]:
    """Every place of the grid with the job that fills it; None where the labels could not be made. Places may share a job."""
    asked = data.grid
    size = data.size
    sets = [PixelSets.of(data, answers, copy) for copy in data.copies]
    found: list[tuple[Place, Job | None]] = []
    for place in (place for place in places(asked, copies=len(data.copies), relabels=named) if place.data in parts):
        if place.relabel not in labels:
            found.append((place, None))
            continue
        made = labels[place.relabel]
        chosen = sets[place.copy].choose(place)
        perturbed = sets[place.copy].perturbed if place.data == "protected" else None
        job = Job(
            data=place.data,
            fraction=place.fraction,
            victim=place.victim,
            defense="none" if place.purified >= 0 else place.defense,
            seed=place.seed,
            schedule=asked.schedule_for(place.victim),
            size=size,
            flips=asked.flips,
            curve_rows=asked.curve_rows,
            pixels=chosen,
            clean=sets[place.copy].clean_like(chosen),
            rows=replace(chosen, column="row"),
            labels=made.folder,
            classes=made.facts["classes"],
            labels_sha256=made.facts["sha256"],
            test=data.test.folder,
            test_sha256=data.test.facts["sha256"],
            perturbed=perturbed.folder if perturbed else None,
            perturbed_sha256=perturbed.facts["sha256"] if perturbed else "",
            home=data.work,
        )
        found.append((place, job))
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelSets:
    """The training rows of one copy in all their forms."""

    clean: Pixels
    noise: Pixels
    protected: Pixels
    purified: tuple[tuple[Pixels, Pixels], ...]  # (purified rows, the same rows clean)
    perturbed: Artifact | None

    @classmethod
    def of(cls, data: Data, answers: Answers, copy: Copy) -> "PixelSets":
        match = data.match(copy, like=copy)
        clean, noise = data.control(copy, levels=0), data.control(copy, levels=data.levels(copy))
        purified = []
        for number, folder in enumerate(data.grid.purified_folders()):
            given = open_copy(Folder.at(folder).uri, name=f"purified-{number}")
            there = data.match(given, like=copy)
            purified.append((_pixels(data.copied(given), there, "copy"), _pixels(clean, there, "clean")))
        return cls(
            clean=_pixels(clean, match, "clean"),
            noise=_pixels(noise, match, "clean"),
            protected=_pixels(data.copied(copy), match, "copy"),
            purified=tuple(purified),
            perturbed=answers.perturbed(copy),
        )

    def choose(self, place: Place) -> Pixels:
        """The pixel set that a place trains on; a mixture starts from the protected one."""
        if place.purified >= 0 and place.data == "protected":
            return self.purified[place.purified][0]
        return {"clean": self.clean, "noise": self.noise}.get(place.data, self.protected)

    def clean_like(self, chosen: Pixels) -> Pixels:
        """The clean version of the same rows."""
        return next((clean for purified, clean in self.purified if purified == chosen), self.clean)


def _pixels(views: Artifact, match: Artifact, column: str) -> Pixels:
    """Identified by content, so that equal controls of several copies are one cell."""
    return Pixels(views=views.folder, match=match.folder, column=column, sha256=f"{views.facts['sha256']}-{match.facts[column]}")


def fulfil(cells: list[tuple[Place, Job | None]], *, home: Folder, machines: Machines, resources: Resources) -> list[dict]:
    """The facts of every place, after training the cells that no earlier run has finished."""
    jobs: dict[str, Job] = {}
    for _, job in cells:
        if job is not None:
            jobs.setdefault(job.fingerprint(), job)
    known = {name: opened(job.folder).facts for name, job in jobs.items() if finished(job.folder)}
    waiting = [name for name in jobs if name not in known]
    if failed := [jobs[name].folder.uri for name, facts in known.items() if "failed" in facts]:
        say(f" evaluate  {len(failed)} cells failed before and stay so; to try them again remove {failed[0]} and its like")
    trained = train_all([jobs[name] for name in waiting], home=home, machines=machines, resources=resources, skipped=len(known))
    facts = known | dict(zip(waiting, trained, strict=True))
    return [facts[job.fingerprint()] if job is not None else {} for _, job in cells]


def row_of(
    place: Place,
    copies: list[Copy],
    job: Job | None,
    facts: dict,
    labels: dict[str, Artifact],
    wrong: dict[str, str],
    agreed: dict[tuple[str, str], tuple[float | None, float | None]],
) -> dict:
    """One line of the results."""
    reason = wrong.get(place.relabel, "") or facts.get("failed", "")
    copy = copies[place.copy]
    ami, purity = agreed.get((copy.name, place.relabel), (None, None))
    row = {name: getattr(place, name) for name in ("data", "fraction", "victim", "relabel", "defense", "seed")}
    row |= {"copy": copy.name, "status": "failed" if reason else "done", "reason": reason, "ami": ami, "purity": purity}
    row |= {"cell": job.fingerprint() if job else ""}
    if place.relabel in labels:
        row |= {"chance": labels[place.relabel].facts["chance"], "classes": labels[place.relabel].facts["classes"]}
    return row | {name: value for name, value in facts.items() if name in results.SCHEMA.names}


def describe(
    asked: Evaluation, data: Data, answers: Answers, labels: dict[str, Artifact], machines: Machines, named: tuple[str, ...]
) -> dict:
    """`run.json`: what was asked, of what, with what."""
    train_rows = data.match(asked.copies[0], like=asked.copies[0]).facts["rows"]
    test_rows = data.test.facts["rows"]
    return {
        "title": ", ".join(copy.name for copy in asked.copies),
        "clean": asked.clean,
        "test": asked.test,
        "request": asdict(asked.grid) | {"schedule": asdict(asked.grid.schedule())},
        "machine": {"cores": machines.cores, "gpus": machines.gpus, "nodes": machines.nodes, "device": "gpu" if machines.gpus else "cpu"},
        "versions": {package: installed(package) for package in PACKAGES},
        "chosen": {
            "train_rows": train_rows,
            "test_rows": test_rows,
            "curve_rows": min(asked.grid.curve_rows, test_rows),
            "image_size": data.size,
        },
        "relabels": [
            {"spec": spec, "classes": made.facts["classes"], "names": made.facts["names"], "chance": made.facts["chance"]}
            for spec, made in labels.items()
        ],
        "copies": [describe_copy(copy, levels=data.levels(copy)) for copy in asked.copies],
        "limits": LIMITS,
    }


def describe_copy(copy: Copy, *, levels: int) -> dict:
    craft = copy.artifacts.get("craft")
    return {
        "name": copy.name,
        "uri": copy.uri,
        "levels": levels,
        "recipe": asdict(copy.recipe) if copy.recipe else None,
        "fingerprints": {stage: artifact.fingerprint for stage, artifact in copy.artifacts.items()},
        "facts": copy.artifacts["export"].facts if copy.artifacts else None,
        "craft": {name: craft.facts[name] for name in ("images", "seconds", "reference_images")} if craft else None,
    }
