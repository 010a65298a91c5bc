"""The command line: `ray-ue <verb>`. It parses, calls the pipeline and turns errors into one line; it does no work of its own."""

import errno
import os
import re
import sys
from collections.abc import Sequence

from ray_ue.cli import commands
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
from ray_ue.cli.output import print_copy, print_evaluation, print_plan, print_sweep
from ray_ue.pipelines import evaluate, protect
from ray_ue.pipelines import measure as measurement
from ray_ue.results.tables import TRIALS
from ray_ue.sources.storage import unanswered
from ray_ue.storage.artifacts import Folder
from ray_ue.sweeps import request
from ray_ue.version import PACKAGES, installed

USER_ERROR, VERIFY_ERROR, INTERRUPTED = 2, 1, 130
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
TOLD_ERRNO = re.compile(r"^\s*(?:OSError|PermissionError): \[Errno (\d+)\] (.+)$", re.MULTILINE)  # in what Ray keeps of a worker's error
# What object store clients raise when nobody answers, after their own retries; Ray may leave only the text of it.
UNREACHABLE = re.compile(
    r"\b(EndpointConnectionError|ConnectTimeoutError|ConnectionClosedError|ReadTimeoutError|HTTPClientError|ResponseParserError|"
    r"ClientConnectorError|ClientOSError|ServerDisconnectedError|ConnectionRefusedError|ConnectionResetError)\b"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 (the copy is not as it should be), 2 (what was asked cannot work), 130 (Ctrl+C)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(commands.usage())
        return 0
    if words[0] == "--version":
        print("\n".join(f"{name} {installed(name)}" for name in PACKAGES))
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
        if (cause := blame(error) or blame(silence(words))) is None:
            raise
        return fail(cause)


def command(words: list[str]) -> int:
    name, rest = words[0], words[1:]
    asked = commands.parse_arguments(name, rest)
    match asked:
        case VerifyArguments():
            return check(asked, words)
        case EvaluateArguments():
            return exploit(asked, words)
        case SweepArguments():
            return sweep(asked, words)
        case MeasureArguments():
            return measure(asked, words)
        case ReportArguments():
            return print_plan(words, "", uris=(asked.run,)) if asked.dry_run else show(asked.run)
        case PerturbationsArguments():
            return take(asked, words)
        case DoctorArguments():
            return diagnose(asked)
        case CompletionArguments():
            print(commands.completion(asked.shell))
            return 0
        case NoArguments():
            return list_methods()
        case ProtectArguments():
            return copy(asked, words, until=commands.find_command(name).until)
    raise AssertionError(f"nothing does {name}")


def copy(asked: ProtectArguments, words: Sequence[str], *, until: str) -> int:
    """Run the stages of a copy, or only plan or preview them."""
    made = protect.plan(asked.source, asked.output, recipe=asked.recipe, resources=asked.resources)
    if asked.dry_run:
        return print_plan(words, protect.describe(made), uris=(asked.source, asked.output, asked.recipe.embeddings))
    if asked.preview:
        from ray_ue.cli.preview import preview

        page = preview(made, count=asked.preview)
        print(f"preview       {page}  (keep it private: it holds clean images)\nthe copy      the same line without --preview begins it")
        return 0
    return print_copy(made, protect.run(made, until=until), until)


def check(asked: VerifyArguments, words: Sequence[str]) -> int:
    """Read a copy back."""
    made = protect.reopen(asked.output, resources=asked.resources)
    if asked.dry_run:
        return print_plan(words, protect.describe(made), uris=(made.source.address, made.output.uri))
    return print_copy(made, protect.run(made, until="verify"), "verify")


def take(asked: PerturbationsArguments, words: Sequence[str]) -> int:
    """Write a copy's perturbations for other tools."""
    if asked.dry_run:
        return print_plan(words, "", uris=(asked.output, asked.file))
    print(protect.take_perturbations(asked.output, asked.file, unit=asked.unit))
    return 0


def diagnose(asked: DoctorArguments) -> int:
    """Print what the doctor finds; 1 if something is bad."""
    from ray_ue.cli import doctor

    states = []
    for finding in doctor.examine(asked.folder):
        print(doctor.line(finding), flush=True)
        states.append(finding.state)
    bad = states.count("bad")
    print(f"\n{f'{bad} to mend before ray-ue can work here' if bad else 'nothing stands in the way'}")
    return 1 if bad else 0


def exploit(asked: EvaluateArguments, words: Sequence[str]) -> int:
    """Evaluate, and print the headline."""
    made = evaluate.plan(
        asked.copies,
        clean=asked.clean,
        test=asked.test,
        results=asked.results,
        grid=asked.grid,
        format=asked.format,
        resources=asked.resources,
    )
    if asked.dry_run:
        uris = (*asked.copies, asked.clean, asked.test, asked.results, *asked.grid.purified_folders())
        return print_plan(words, evaluate.describe(made), uris=uris)
    return print_evaluation(evaluate.run(made))


def sweep(asked: SweepArguments, words: Sequence[str]) -> int:
    """Sweep, and print the table."""
    if asked.resume and asked != SweepArguments(resume=asked.resume, resources=asked.resources, dry_run=asked.dry_run):
        raise ValueError(f"--resume {asked.resume} continues with the flags of that sweep; leave out all others but those of resources")
    if asked.resume:
        made = request.reopen(asked.resume, resources=asked.resources)
    else:
        made = request.plan(
            asked.source,
            asked.output,
            test=asked.test,
            recipe=asked.recipe,
            grid=asked.evaluate,
            search=asked.search,
            resources=asked.resources,
        )
    if asked.dry_run:
        return print_plan(words, request.describe(made), uris=(made.source, made.home.uri, made.test, asked.resume, made.recipe.embeddings))
    from ray_ue.sweeps.run import run

    return print_sweep(run(made))


def measure(asked: MeasureArguments, words: Sequence[str]) -> int:
    """Measure, and print the correlations."""
    made = measurement.plan(asked.runs, measurement=asked.measurement, resources=asked.resources)
    if asked.dry_run:
        return print_plan(words, f"  measure  {sum(map(len, made.lines.values()))} victims", uris=asked.runs)
    run = measurement.run(made)
    print(run.read("information.md").decode().split("\n## ")[1].partition("\n")[2].strip())
    print(f"\nall lines     {run.path('information.md')}\npage          {run.path('report.html')}")
    print(f"table         {run.path('information.parquet')}")
    return 0


def show(run: str) -> int:
    """Write the page anew."""
    folder = Folder.at(run)
    if folder.exists(TRIALS.name):
        from ray_ue.report.sweep.page import write as rewrite

        rewrite(folder)
        return print_sweep(folder)
    if not folder.exists("results.parquet"):
        raise ValueError(f"{folder.uri} holds no results.parquet; name a folder that ray-ue evaluate or sweep wrote, once it has finished")
    from ray_ue.report import report as write  # it brings what draws curves

    write(folder)
    return print_evaluation(folder)


def list_methods() -> int:
    """Every method with its settings."""
    from ray_ue.methods import describe  # brings torch

    print(describe())
    return 0


def silence(words: Sequence[str]) -> Exception | None:
    """What the first object store that a command names, and that does not answer now, raises: clients may have taken that for "no file"."""
    places = (word.rpartition("=")[2] if word.startswith("--") else word for word in words)
    return next((error for place in places if "://" in place and (error := unanswered(place))), None)


def blame(error: BaseException | None) -> ValueError | None:
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
        if silent := UNREACHABLE.search(f"{type(here).__name__} {here}"):
            return ValueError(f"an object store does not answer ({silent[0]}); mend that, then run the same line again: it continues")
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
