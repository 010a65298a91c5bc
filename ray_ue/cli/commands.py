"""The verbs of the command line: what each takes, what it is for, and one real line of it. It parses and explains; it starts no work."""

import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tyro

from ray_ue.cli.arguments import (
    CompletionArguments,
    DoctorArguments,
    EvaluateArguments,
    MeasureArguments,
    NoArguments,
    PerturbationsArguments,
    ProtectArguments,
    ReportArguments,
    SweepArguments,
    VerifyArguments,
)
from ray_ue.config.stages import LAST, STAGES
from ray_ue.registry import pick


@dataclass(frozen=True, kw_only=True)
class Command:
    """`kind` holds the flags as its fields; `until` is the last stage of the verbs that write a copy."""

    kind: type
    what: str
    example: str
    until: str = ""


ON = "photos/ photos-protected/"
EXAMPLES = {
    "index": "",
    "embed": " --surrogate open_clip:RN50/openai",
    "cluster": " --clusters 20",
    "craft": " --method mi-ue --groups label",
    "export": " --image-format webp",
}
COMMANDS = {
    "protect": Command(
        kind=ProtectArguments,
        what="write a protected copy and prove it: the next six in one",
        example=f"ray-ue protect {ON} --clusters 10 --budget 16/255",
        until=LAST,
    ),
    **{
        name: Command(kind=ProtectArguments, what=stage.what, example=f"ray-ue {name} {ON}{EXAMPLES[name]}", until=name)
        for name, stage in STAGES.items()
        if stage.command
    },
    "verify": Command(kind=VerifyArguments, what="read a finished copy back and prove it again", example="ray-ue verify photos-protected/"),
    "evaluate": Command(
        kind=EvaluateArguments,
        what="train exploiters: what protection is left?",
        example="ray-ue evaluate photos-protected/ --clean photos/ --test photos-test/ --victims fast,resnet18",
    ),
    "sweep": Command(
        kind=SweepArguments,
        what="protect and evaluate with many settings, name the best",
        example="ray-ue sweep photos/ photos-sweep/ --test photos-test/ --vary clusters=5,10,20 --vary budget=8,16",
    ),
    "measure": Command(
        kind=MeasureArguments,
        what="mutual information in the victims of evaluations",
        example="ray-ue measure photos-protected.evaluation/ --estimators histogram,knn,kde",
    ),
    "report": Command(
        kind=ReportArguments, what="write the page of an evaluation or sweep anew", example="ray-ue report photos-protected.evaluation/"
    ),
    "perturbations": Command(
        kind=PerturbationsArguments,
        what="write a copy's perturbations for other tools",
        example="ray-ue perturbations photos-protected/ perturbations.npy",
    ),
    "methods": Command(kind=NoArguments, what="list the methods with their settings", example="ray-ue methods"),
    "doctor": Command(kind=DoctorArguments, what="check this machine and say what to mend", example="ray-ue doctor photos-protected/"),
    "completion": Command(
        kind=CompletionArguments,
        what="print a completion script for bash or zsh",
        example="ray-ue completion bash > ~/.local/share/bash-completion/completions/ray-ue",
    ),
}


def usage() -> str:
    """All verbs on one screen of 80 columns and 24 lines."""
    width = max(map(len, COMMANDS))
    verbs = "\n".join(f"  {name:<{width}}  {verb.what}" for name, verb in COMMANDS.items())
    return (
        f"usage: ray-ue VERB ...     Make image collections unlearnable.\n\n{verbs}\n\n"
        f"ray-ue VERB --help shows a verb's flags; --version the versions in use.\nexample:  {COMMANDS['protect'].example}"
    )


def find_command(name: str) -> Command:
    """The verb called `name`; a `ValueError` names the nearest."""
    return pick(COMMANDS, name, what="verb")


def parse_arguments(name: str, flags: Sequence[str]) -> Any:
    """The flags as a value of the verb's kind; a wrong one is a one-line `ValueError` with the nearest right name."""
    verb, shown = find_command(name), io.StringIO()
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
        kinds = {name: verb.kind for name, verb in COMMANDS.items()}
        tyro.extras.subcommand_cli_from_dict(kinds, prog="ray-ue", args=["--tyro-print-completion", shell])
    return shown.getvalue()
