"""The command line: `ray-ue <verb>`. It parses, calls the pipeline and turns errors into one line; it does no work of its own."""

import contextlib
import errno
import io
import os
import re
import sys
from collections.abc import Callable, Sequence

import tyro

from ray_ue import evaluation, front, measurement, pipeline, study
from ray_ue.artifacts import Folder
from ray_ue.asked import Check, Copy, Exploit, Measure, Nothing, Show, Sweep, Take
from ray_ue.told import only_plan, tell_copy, tell_evaluation, tell_sweep
from ray_ue.versions import installed

USER_ERROR, VERIFY_ERROR, INTERRUPTED = 2, 1, 130
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
TOLD_ERRNO = re.compile(r"^\s*(?:OSError|PermissionError): \[Errno (\d+)\] (.+)$", re.MULTILINE)  # in what Ray keeps of a worker's error
# What object store clients raise when nobody answers, after their own retries; Ray may leave only the text of it.
UNREACHABLE = re.compile(
    r"\b(EndpointConnectionError|ConnectTimeoutError|ConnectionClosedError|ReadTimeoutError|HTTPClientError|ResponseParserError|"
    r"ClientConnectorError|ClientOSError|ServerDisconnectedError|ConnectionRefusedError|ConnectionResetError)\b"
)


VERBS = {
    "protect": ("verify", "Write a protected copy and prove it: all the stages below, in order."),
    "index": ("index", "List the source and give every image an id."),
    "embed": ("embed", "Embed every image with the surrogate (training it first if it is an ssl one)."),
    "cluster": ("cluster", "Cluster the embeddings with k-means."),
    "craft": ("craft", "Craft the perturbations."),
    "export": ("export", "Write the protected copy."),
    "verify": ("verify", "Read a finished copy back and prove it: ray-ue verify OUTPUT."),
    "evaluate": ("", "Train exploiters on copies and controls: what protection is left?"),
    "sweep": ("", "Protect and evaluate with many settings, and name the best trade-offs."),
    "measure": ("", "Estimate the mutual information that MI-UE explains protection with, in the victims of finished evaluations."),
    "perturbations": ("", "Write a copy's perturbations in a format that other tools read: ray-ue perturbations OUTPUT FILE."),
    "methods": ("", "List the methods with their settings."),
    "report": ("", "Write the page and the table of an evaluation or a sweep: ray-ue report RUN."),
}
EXAMPLES = {
    "evaluate": "ray-ue evaluate photos-protected/ --clean photos/ --test photos-test/ --victims fast,resnet18",
    "sweep": "ray-ue sweep photos/ photos-sweep/ --test photos-test/ --vary clusters=5,10,20 --vary budget=8,16",
    "measure": "ray-ue measure photos-protected.evaluation/ --estimators histogram,knn,kde",
    "perturbations": "ray-ue perturbations photos-protected/ perturbations.npy",
    "methods": "ray-ue methods",
    "report": "ray-ue report photos-protected.evaluation/",
    "verify": "ray-ue verify photos-protected/",
}
EXAMPLE = "ray-ue protect photos/ photos-protected/ --clusters 10 --budget 16/255"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 (the copy is not as it should be), 2 (what was asked cannot work), 130 (Ctrl+C)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0
    if words[0] == "--version":
        packages = ("ray-ue", "ray", "torch", "open_clip_torch", "pillow")
        print("\n".join(f"{name} {installed(name)}" for name in packages))
        return 0
    try:
        return command(words)
    except BrokenPipeError:  # `ray-ue … | head`: whoever read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("\nray-ue: stopped; the same line continues", file=sys.stderr)
        return INTERRUPTED
    except ValueError as error:
        return fail(error)
    except Exception as error:
        if (cause := blame(error)) is None:
            raise
        return fail(cause)


def usage() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {what}" for verb, (_, what) in VERBS.items())
    return (
        f"usage: ray-ue VERB ...\n\nMake image collections unlearnable.\n\n{verbs}\n\n"
        f"  ray-ue VERB --help shows a verb's flags; --version the versions in use.\n\nexample:\n  {EXAMPLE}"
    )


def command(words: list[str]) -> int:
    verb, rest = words[0], words[1:]
    if verb not in VERBS:
        raise ValueError(f"no verb is called {verb!r}; there are {', '.join(VERBS)}")
    until, what = VERBS[verb]
    if verb == "verify":
        check = parse(Check, verb, what, rest)
        made = pipeline.reopen(check.output, resources=check.resources)
        if check.dry_run:
            return only_plan(words, pipeline.describe(made), uris=(made.source_uri, made.output.uri))
        return tell_copy(made, pipeline.run(made, until="verify"), until)
    if verb == "evaluate":
        return exploit(parse(Exploit, verb, what, rest), words)
    if verb == "sweep":
        return sweep(parse(Sweep, verb, what, rest), words)
    if verb == "measure":
        return measure(parse(Measure, verb, what, rest), words)
    if verb == "report":
        shown = parse(Show, verb, what, rest)
        return only_plan(words, "", uris=(shown.run,)) if shown.dry_run else show(shown.run)
    if verb == "perturbations":
        taken = parse(Take, verb, what, rest)
        if taken.dry_run:
            return only_plan(words, "", uris=(taken.output, taken.file))
        print(pipeline.take_perturbations(taken.output, taken.file, unit=taken.unit))
        return 0
    if verb == "methods":
        return list_methods(parse(Nothing, verb, what, rest))
    asked = parse(Copy, verb, what, rest)
    made = pipeline.plan(asked.source, asked.output, recipe=asked.recipe, resources=asked.resources)
    if asked.dry_run:
        return only_plan(words, pipeline.describe(made), uris=(asked.source, asked.output))
    return tell_copy(made, pipeline.run(made, until=until), until)


def exploit(asked: Exploit, words: Sequence[str]) -> int:
    """Evaluate, and print the headline."""
    made = evaluation.plan(
        asked.copies,
        clean=asked.clean,
        test=asked.test,
        results=asked.results,
        grid=asked.grid,
        format=asked.format,
        resources=asked.resources,
    )
    if asked.dry_run:
        return only_plan(words, evaluation.describe(made), uris=(*asked.copies, asked.clean, asked.test, asked.results))
    return tell_evaluation(evaluation.run(made))


def sweep(asked: Sweep, words: Sequence[str]) -> int:
    """Sweep, and print the table."""
    if asked.resume and asked != Sweep(resume=asked.resume, resources=asked.resources, dry_run=asked.dry_run):
        raise ValueError(f"--resume {asked.resume} continues with the flags of that sweep; leave out all others but those of resources")
    if asked.resume:
        made = study.reopen(asked.resume, resources=asked.resources)
    else:
        made = study.plan(
            asked.source,
            asked.output,
            test=asked.test,
            recipe=asked.recipe,
            grid=asked.evaluate,
            search=asked.search,
            resources=asked.resources,
        )
    if asked.dry_run:
        return only_plan(words, study.describe(made), uris=(made.source, made.home.uri, made.test, asked.resume))
    from ray_ue.sweeping import run

    return tell_sweep(run(made))


def measure(asked: Measure, words: Sequence[str]) -> int:
    """Measure, and print the correlations."""
    made = measurement.plan(asked.runs, measurement=asked.measurement, resources=asked.resources)
    if asked.dry_run:
        return only_plan(words, f"  measure  {sum(map(len, made.lines.values()))} victims", uris=asked.runs)
    run = measurement.run(made)
    print(run.read("information.md").decode().split("\n## ")[1].partition("\n")[2].strip())
    print(f"\nall lines     {run.path('information.md')}\npage          {run.path('report.html')}")
    print(f"table         {run.path('information.parquet')}")
    return 0


def show(run: str) -> int:
    """Write the page anew."""
    folder = Folder.at(run)
    if folder.exists(front.TABLE):
        from ray_ue.report.sweep import write as rewrite

        rewrite(folder)
        return tell_sweep(folder)
    if not folder.exists("results.parquet"):
        raise ValueError(f"{folder.uri} holds no results.parquet; name a folder that ray-ue evaluate or sweep wrote, once it has finished")
    from ray_ue.report import report as write  # it brings what draws curves

    write(folder)
    return tell_evaluation(folder)


def list_methods(asked: Nothing) -> int:
    """Every method with its settings."""
    from ray_ue.methods import describe  # brings torch

    print(describe())
    return 0


def parse(kind: Callable, verb: str, what: str, rest: list[str]):
    """The flags as a value; a wrong one is a one-line `ValueError` with the nearest right name."""
    shown = io.StringIO()
    try:
        with contextlib.redirect_stderr(shown):
            return tyro.cli(kind, prog=f"ray-ue {verb}", description=f"{what}\n\nexample: {EXAMPLES.get(verb, EXAMPLE)}", args=rest)
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


def blame(error: BaseException) -> ValueError | None:
    """The `ValueError`, or the full or locked disk, inside what Ray wrapped around it, if that is what went wrong."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        here = waiting.pop(0)
        if here is None or id(here) in seen:
            continue
        seen.add(id(here))
        if isinstance(here, ValueError):
            return here
        if isinstance(here, OSError) and here.errno in NO_ROOM:
            return ValueError(f"{here.strerror}: {here.filename or 'while writing'}; mend that, then run the same line again: it continues")
        if unanswered := UNREACHABLE.search(f"{type(here).__name__} {here}"):
            return ValueError(f"an object store does not answer ({unanswered[0]}); mend that, then run the same line again: it continues")
        if (full := TOLD_ERRNO.search(str(here))) and int(full[1]) in NO_ROOM:
            return ValueError(f"{full[2]}; mend that, then run the same line again: it continues")
        if told := re.findall(r"^ValueError: (.+)$", str(here), re.MULTILINE):
            return ValueError(told[-1])  # an actor that died while it was made: Ray keeps only the text
        waiting += [getattr(here, "cause", None), here.__cause__, here.__context__, *getattr(here, "worker_failures", {}).values()]
    return None


def fail(error: ValueError) -> int:
    text = " ".join(str(error).split())
    print(f"ray-ue: {text}", file=sys.stderr)
    return VERIFY_ERROR if type(error).__name__ == "VerifyError" else USER_ERROR


if __name__ == "__main__":
    sys.exit(main())
