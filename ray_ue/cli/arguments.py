"""The flags of each command, as the fields of a frozen value."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from ray_ue.config.grid import Grid
from ray_ue.config.job import MAX_GONE
from ray_ue.config.recipe import Recipe, Resources
from ray_ue.pipelines.check import MOST
from ray_ue.pipelines.measure import Measurement
from ray_ue.sources.opening import Format
from ray_ue.sweeps.search import Search

MOST_PREVIEWED = 60  # images on the page of a preview

Source = Annotated[Positional[str], arg(metavar="SOURCE")]
Output = Annotated[Positional[str], arg(metavar="OUTPUT")]


@dataclass(frozen=True, kw_only=True)
class ProtectArguments:
    source: Source
    """Images: a folder, Parquet files or tar shards; a path or URI, braces and * allowed."""
    output: Output
    """Where the protected copy is written. Files that must stay private are written to OUTPUT.ray-ue."""
    recipe: OmitArgPrefixes[Recipe] = field(default_factory=Recipe)
    resources: OmitArgPrefixes[Resources] = field(default_factory=Resources)
    anew: bool = False
    """Craft again for the whole source, instead of letting new pictures join a finished copy with the patterns that are there."""
    prune: bool = False
    """Remove pictures from a finished copy that are no longer in the source."""
    max_gone: float = MAX_GONE
    """Largest part of a copy's files that --prune and --anew may remove; more is refused, as a wrong folder or a disk that is not there
    looks like it."""
    dry_run: bool = False
    """Only print the plan, and what the run would refuse: rows, passes, disk, devices."""
    nodes: str = ""
    """With --dry-run: nodes to plan for, as 8x32+1@128 (eight of 32 CPUs, a GPU and 128 GiB) or cluster.yaml: where each stage runs."""
    preview: int = 0
    """Craft on a few images only, and show this many of them before and after in OUTPUT.preview.html; no copy is written."""


@dataclass(frozen=True, kw_only=True)
class VerifyArguments:
    output: Output
    """A copy that ray-ue protect wrote."""
    resources: OmitArgPrefixes[Resources] = field(default_factory=Resources)
    dry_run: bool = False
    """Only print how to run this as a Ray job."""


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments:
    copies: Annotated[Positional[tuple[str, ...]], arg(metavar="COPY")]
    """Protected copies: folders, Parquet files or tar shards. Several copies of one source share their controls."""
    test: str
    """Clean images that were never published, for measuring accuracy."""
    clean: str = ""
    """The images that the copies were made from; if empty, taken from the work folder of the first copy."""
    results: str = ""
    """Where results are written; if empty, COPY.evaluation. A later run with the same folder reuses its finished victims."""
    format: Format = "auto"
    """Layout of copies, clean and test images."""
    grid: OmitArgPrefixes[Grid] = field(default_factory=Grid)
    resources: OmitArgPrefixes[Resources] = field(default_factory=Resources)
    dry_run: bool = False
    """Only print the plan: cells, schedules, controls."""
    nodes: str = ""
    """With --dry-run: nodes to plan for, as 8x32+1 (eight of 32 CPUs and a GPU) or cluster.yaml; says where victims train."""


@dataclass(frozen=True, kw_only=True)
class CheckArguments:
    copy: Annotated[Positional[str], arg(metavar="COPY")]
    """A protected copy."""
    clean: str = ""
    """The images that the copy was made from; if empty, taken from the copy's work folder."""
    results: str = ""
    """Where results are written; if empty, COPY.check."""
    images: int = MOST
    """Images that are looked at, at most; a quarter of them are held out for testing."""
    format: Format = "auto"
    """Layout of the copy and the clean images."""
    resources: OmitArgPrefixes[Resources] = field(default_factory=Resources)
    dry_run: bool = False
    """Only print the plan."""


@dataclass(frozen=True, kw_only=True)
class SweepArguments:
    source: Source = ""
    """Images: a folder, Parquet files or tar shards. A part of the collection is enough for choosing settings."""
    output: Output = ""
    """Folder of the sweep, with every copy, its perturbations, victims and results. Keep it private."""
    test: str = ""
    """Clean images that were never published, for measuring accuracy."""
    resume: str = ""
    """Continue the sweep in this folder with its original flags; the folder may have been moved."""
    search: OmitArgPrefixes[Search] = field(default_factory=Search)
    evaluate: Grid = field(default_factory=Grid)
    recipe: OmitArgPrefixes[Recipe] = field(default_factory=Recipe)
    resources: OmitArgPrefixes[Resources] = field(default_factory=Resources)
    dry_run: bool = False
    """Only print the plan: settings, victims, disk."""


@dataclass(frozen=True, kw_only=True)
class MeasureArguments:
    runs: Annotated[Positional[tuple[str, ...]], arg(metavar="RUN")]
    """Folders that ray-ue evaluate wrote. One table and one scatter plot over all of them are written into the first."""
    measurement: OmitArgPrefixes[Measurement] = field(default_factory=Measurement)
    resources: OmitArgPrefixes[Resources] = field(default_factory=Resources)
    dry_run: bool = False
    """Only print how to run this as a Ray job."""


@dataclass(frozen=True, kw_only=True)
class ReportArguments:
    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A folder that ray-ue evaluate or sweep wrote."""
    dry_run: bool = False
    """Only print how to run this as a Ray job."""


@dataclass(frozen=True, kw_only=True)
class PerturbationsArguments:
    output: Output
    """A copy that ray-ue protect wrote."""
    file: Annotated[Positional[str], arg(metavar="FILE")]
    """Where its perturbations are written: a name that ends in .npy, .npz, .pt or .safetensors, or a folder for PNG files."""
    unit: Literal["levels", "fraction"] = "levels"
    """Whole 8-bit levels, or fractions of the full range."""
    dry_run: bool = False
    """Only print how to run this as a Ray job."""


@dataclass(frozen=True, kw_only=True)
class ConvertArguments:
    copy: Annotated[Positional[str], arg(metavar="COPY")]
    """A copy, or any other images."""
    target: Annotated[Positional[str], arg(metavar="TARGET")]
    """Where it is written: a name that ends in .pt or .npz gets all images and labels, any other a folder of numbered PNG files."""
    size: int = 0
    """Side in pixels to which all images are scaled and cut; 0 keeps their size, which must be one for all."""
    format: Format = "auto"
    """Layout of the copy."""
    dry_run: bool = False
    """Only print how to run this as a Ray job."""


@dataclass(frozen=True, kw_only=True)
class LeaderboardArguments:
    action: Annotated[Positional[Literal["add"]], arg(metavar="add")]
    """What is done: add joins results to the leaderboard."""
    results: Annotated[Positional[tuple[str, ...]], arg(metavar="RESULT")]
    """Folders that ray-ue evaluate wrote, with controls, three seeds or more, and everyday defenses."""
    board: str = "leaderboard"
    """The folder of the leaderboard: a table, a page and a text."""
    data_set: str = ""
    """Name of the images; if empty, that of the folder of clean images."""
    dry_run: bool = False
    """Only print how to run this as a Ray job."""


@dataclass(frozen=True, kw_only=True)
class NoArguments:
    """A command without flags."""


@dataclass(frozen=True, kw_only=True)
class DoctorArguments:
    folder: Annotated[Positional[str], arg(metavar="FOLDER")] = "."
    """Where copies will be written, a folder or URI: checks free space and write permission."""


@dataclass(frozen=True, kw_only=True)
class CompletionArguments:
    shell: Positional[Literal["bash", "zsh"]]
    """The shell of the script."""


def refuse_odd(arguments: object) -> None:
    """Refuse what flags allow each for itself: nodes are described for a plan alone, and a preview shows some images or none."""
    if isinstance(arguments, ProtectArguments | EvaluateArguments) and arguments.nodes and not arguments.dry_run:
        raise ValueError(f"--nodes {arguments.nodes} describes nodes for a plan: give it together with --dry-run, or leave it out")
    if isinstance(arguments, ProtectArguments) and not 0 <= arguments.preview <= MOST_PREVIEWED:
        raise ValueError(f"--preview shows 1 to {MOST_PREVIEWED} images, got {arguments.preview}; 12 fill a page")
