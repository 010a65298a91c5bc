"""The verbs of the command line: what each takes, what it is for, and one real line of it. It parses and explains; it starts no work."""

import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tyro

from ray_ue.asked import Check, Copy, Examine, Exploit, Measure, Nothing, Shell, Show, Sweep, Take
from ray_ue.types import pick


@dataclass(frozen=True, kw_only=True)
class Verb:
    """`kind` holds the flags as its fields; `until` is the last stage of the verbs that write a copy."""

    kind: type
    what: str
    example: str
    until: str = ""


ON = "photos/ photos-protected/"
VERBS = {
    "protect": Verb(
        kind=Copy,
        what="write a protected copy and prove it: the next six in one",
        example=f"ray-ue protect {ON} --clusters 10 --budget 16/255",
        until="verify",
    ),
    "index": Verb(kind=Copy, what="list the source, give every image an id", example=f"ray-ue index {ON}", until="index"),
    "embed": Verb(
        kind=Copy,
        what="embed every image with the surrogate",
        example=f"ray-ue embed {ON} --surrogate open_clip:RN50/openai",
        until="embed",
    ),
    "cluster": Verb(kind=Copy, what="cluster the embeddings with k-means", example=f"ray-ue cluster {ON} --clusters 20", until="cluster"),
    "craft": Verb(kind=Copy, what="craft the perturbations", example=f"ray-ue craft {ON} --method mi-ue --groups label", until="craft"),
    "export": Verb(kind=Copy, what="write the protected copy", example=f"ray-ue export {ON} --image-format webp", until="export"),
    "verify": Verb(kind=Check, what="read a finished copy back and prove it again", example="ray-ue verify photos-protected/"),
    "evaluate": Verb(
        kind=Exploit,
        what="train exploiters: what protection is left?",
        example="ray-ue evaluate photos-protected/ --clean photos/ --test photos-test/ --victims fast,resnet18",
    ),
    "sweep": Verb(
        kind=Sweep,
        what="protect and evaluate with many settings, name the best",
        example="ray-ue sweep photos/ photos-sweep/ --test photos-test/ --vary clusters=5,10,20 --vary budget=8,16",
    ),
    "measure": Verb(
        kind=Measure,
        what="mutual information in the victims of evaluations",
        example="ray-ue measure photos-protected.evaluation/ --estimators histogram,knn,kde",
    ),
    "report": Verb(kind=Show, what="write the page of an evaluation or sweep anew", example="ray-ue report photos-protected.evaluation/"),
    "perturbations": Verb(
        kind=Take,
        what="write a copy's perturbations for other tools",
        example="ray-ue perturbations photos-protected/ perturbations.npy",
    ),
    "methods": Verb(kind=Nothing, what="list the methods with their settings", example="ray-ue methods"),
    "doctor": Verb(kind=Examine, what="check this machine and say what to mend", example="ray-ue doctor photos-protected/"),
    "completion": Verb(
        kind=Shell,
        what="print a completion script for bash or zsh",
        example="ray-ue completion bash > ~/.local/share/bash-completion/completions/ray-ue",
    ),
}


def usage() -> str:
    """All verbs on one screen of 80 columns and 24 lines."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {verb.what}" for name, verb in VERBS.items())
    return (
        f"usage: ray-ue VERB ...     Make image collections unlearnable.\n\n{verbs}\n\n"
        f"ray-ue VERB --help shows a verb's flags; --version the versions in use.\nexample:  {VERBS['protect'].example}"
    )


def find(name: str) -> Verb:
    """The verb called `name`; a `ValueError` names the nearest."""
    return pick(VERBS, name, what="verb")


def parse(name: str, flags: Sequence[str]) -> Any:
    """The flags as a value of the verb's kind; a wrong one is a one-line `ValueError` with the nearest right name."""
    verb, shown = find(name), io.StringIO()
    told = f"{verb.what[0].upper()}{verb.what[1:]}.\n\nexample: {verb.example}"
    try:
        with contextlib.redirect_stderr(shown):
            return tyro.cli(verb.kind, prog=f"ray-ue {name}", description=told, args=list(flags))
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ValueError(one_line(shown.getvalue())) from None


def one_line(box: str) -> str:
    """What tyro says in a box (drawn with lines, or with spaces where the terminal has no such characters), as one line."""
    lines = [line.strip("│|+ ") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:]]
    parts = " ".join("\0" if set(line) <= set("─-╰╯╭╮") else line for line in lines).split("\0")
    told = [" ".join(part.split()) for part in parts if part.strip() and not part.strip().startswith(("For full help", "Argument help"))]
    return "; ".join(told) or "the flags could not be read; see --help"


def completion(shell: str) -> str:
    """A script that makes `shell` complete verbs, flags and the values that a flag can take."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        kinds = {name: verb.kind for name, verb in VERBS.items()}
        tyro.extras.subcommand_cli_from_dict(kinds, prog="ray-ue", args=["--tyro-print-completion", shell])
    return shown.getvalue()
