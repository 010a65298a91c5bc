"""The commands: their flags, purpose and an example; parsing and help."""

import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import tyro

from ray_ue.cli.arguments import (
    CheckArguments,
    CompletionArguments,
    ConvertArguments,
    DoctorArguments,
    EvaluateArguments,
    LeaderboardArguments,
    MeasureArguments,
    NoArguments,
    PerturbationsArguments,
    ProtectArguments,
    ReportArguments,
    SweepArguments,
    VerifyArguments,
)
from ray_ue.config.stages import LAST, STAGES
from ray_ue.progress import counted
from ray_ue.registry import pick


@dataclass(frozen=True, kw_only=True)
class Command:
    """The fields of `kind` are the flags; `until` is the last stage of the commands that write a copy."""

    kind: type
    what: str
    example: str
    until: str = ""


ON = "photos/ photos-protected/"
EXAMPLES = {  # flags that the example of a stage shows
    "embed": " --surrogate open_clip:RN50/openai",
    "cluster": " --clusters 20",
    "craft": " --method mi-ue --groups label",
    "export": " --image-format webp",
}
COMMANDS = {
    "protect": Command(
        kind=ProtectArguments,
        what=f"write and verify a protected copy: {next(iter(STAGES))} to {LAST} in one",
        example=f"ray-ue protect {ON} --clusters 10 --budget 16/255",
        until=LAST,
    ),
    **{
        name: Command(kind=ProtectArguments, what=stage.what, example=f"ray-ue {name} {ON}{EXAMPLES.get(name, '')}", until=name)
        for name, stage in STAGES.items()
        if stage.command
    },
    "verify": Command(kind=VerifyArguments, what="read a finished copy back and verify it", example="ray-ue verify photos-protected/"),
    "evaluate": Command(
        kind=EvaluateArguments,
        what="train exploiters on copies to measure protection",
        example="ray-ue evaluate photos-protected/ --clean photos/ --test photos-test/ --victims fast,resnet18",
    ),
    "check": Command(
        kind=CheckArguments, what="does a copy protect these images? minutes, no labels", example="ray-ue check photos-protected/"
    ),
    "sweep": Command(
        kind=SweepArguments,
        what="protect and evaluate with many settings, list the best",
        example="ray-ue sweep photos/ photos-sweep/ --test photos-test/ --vary clusters=5,10,20 --vary budget=8,16",
    ),
    "measure": Command(
        kind=MeasureArguments,
        what="measure mutual information in evaluated victims",
        example="ray-ue measure photos-protected.evaluation/ --estimators histogram,knn,kde",
    ),
    "report": Command(
        kind=ReportArguments, what="write the page of an evaluation or sweep again", example="ray-ue report photos-protected.evaluation/"
    ),
    "leaderboard": Command(
        kind=LeaderboardArguments,
        what="merge evaluations into one table and page",
        example="ray-ue leaderboard add photos-protected.evaluation/ --data-set photos",
    ),
    "perturbations": Command(
        kind=PerturbationsArguments,
        what="write a copy's perturbations for other tools",
        example="ray-ue perturbations photos-protected/ perturbations.npy",
    ),
    "convert": Command(
        kind=ConvertArguments,
        what="write a copy as a file for other people's code",
        example="ray-ue convert cifar-protected/ cifar-protected.pt",
    ),
    "methods": Command(kind=NoArguments, what="list the methods with their settings", example="ray-ue methods"),
    "doctor": Command(kind=DoctorArguments, what="check this machine for problems", example="ray-ue doctor photos-protected/"),
    "completion": Command(
        kind=CompletionArguments,
        what="print a completion script for bash or zsh",
        example="ray-ue completion bash > ~/.local/share/bash-completion/completions/ray-ue",
    ),
}


def usage() -> str:
    """All commands on one screen of 80 columns and 24 lines."""
    width = max(map(len, COMMANDS))
    verbs = "\n".join(f"  {name:<{width}}  {verb.what}" for name, verb in COMMANDS.items())
    return (
        f"usage: ray-ue VERB ...     Make image collections unlearnable.\n\n{verbs}\n\n"
        f"ray-ue VERB --help shows a verb's flags; --version the versions in use.\nexample:  {COMMANDS['protect'].example}"
    )


def find_command(name: str) -> Command:
    """The command called `name`; a `ValueError` names the nearest."""
    return pick(COMMANDS, name, what="verb")


def parse_arguments(name: str, flags: Sequence[str]) -> Any:
    """The flags as a value of the command's `kind`; a wrong flag gives a one-line `ValueError` with the nearest valid name."""
    verb, messages = find_command(name), io.StringIO()
    description = f"{verb.what[0].upper()}{verb.what[1:]}.\n\nexample: {verb.example}"
    try:
        with contextlib.redirect_stderr(messages):
            return tyro.cli(verb.kind, prog=f"ray-ue {name}", description=description, args=list(flags))
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        files = sum(Path(word).is_file() for word in flags if not word.startswith("-"))
        raise ValueError(name_flags(join_error_box(messages.getvalue()), verb=name, files=files)) from None


def name_flags(text: str, *, verb: str, files: int = 0) -> str:
    """The errors of a parser; unknown flags as one short sentence each, with the nearest valid one. `files` of the words are files."""
    if not (found := re.match(r"Unrecognized options: ([^;]*)", text)):
        return plain(text, verb=verb)
    words = [word.strip() for word in found[1].split(",")]
    flags, known = [word for word in words if word.startswith("-")] or words, re.findall(r"--[a-z][\w.-]+", text[found.end() :])
    if (len(flags) > 2 or files > 1) and not words[0].startswith("-"):
        return (
            f"{counted(len(flags), 'word')} too many, {flags[0]!r} the first: the shell has put files in the place of a pattern "
            "such as photos/*; name the folder instead"
        )
    near = {flag: get_close_matches(flag, [name for name in known if name not in flags], n=1) for flag in flags}
    told = [
        (f"there is no {flag}" if flag.startswith("-") else f"{flag!r} is one word too many")
        + "".join(f" (did you mean {name}?)" for name in near[flag])
        for flag in flags
    ]
    return f"{'; '.join(told)}; ray-ue {verb} --help lists the flags"


# What tyro and Python say of a wrong value, and the same in the words of a user.
SAYINGS = (
    (r"Error parsing (\S+): invalid literal for int\(\) with base 10: ('.*?')", r"\1 is a whole number, got \2"),
    (r"Error parsing (\S+): could not convert string to float: ('.*?')", r"\1 is a number, got \2"),
    (r"Error parsing (\S+): it is", r"\1 is"),
    (r"Missing value for argument '(?:\S+/)?(--\S+)'\. Expected 1 values\.", r"\1 needs a value"),
    (r"invalid choice ('.*?') for argument '(\S+)'\. Expected one of \((.*?),?\)\.", r"\2 is one of \3, got \1"),
)


def plain(text: str, *, verb: str) -> str:
    """An error of the parser in plain words: what was missing, or what a flag takes and what it got."""
    if missing := re.match(r"Missing from ray-ue [a-z]+: (.*)", text):
        names = [part.split()[0] for part in missing[1].split("(required)") if part.split()]
        return f"{verb} needs {' and '.join(names)}; write for example: {find_command(verb).example}"
    for pattern, words in SAYINGS:
        text = re.sub(pattern, words, text)
    return text


def join_error_box(box: str) -> str:
    """The text of tyro's error box as one line; the box consists of lines or, in simple terminals, of spaces."""
    lines = [line.strip("│|+ ") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:]]
    parts = " ".join("\0" if set(line) <= set("─-╰╯╭╮") else line for line in lines).split("\0")
    texts = [" ".join(part.split()) for part in parts]
    sentences = [text for text in texts if text and not text.startswith(("For full help", "Argument help"))]
    return "; ".join(sentences) or "the flags could not be read; see --help"


def completion_script(shell: str) -> str:
    """A script for `shell` that completes commands, flags and the values of a flag."""
    script = io.StringIO()
    with contextlib.redirect_stdout(script), contextlib.suppress(SystemExit):
        kinds = {name: verb.kind for name, verb in COMMANDS.items()}
        tyro.extras.subcommand_cli_from_dict(kinds, prog="ray-ue", args=["--tyro-print-completion", shell])
    return script.getvalue()
