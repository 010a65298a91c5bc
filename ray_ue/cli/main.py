"""The command line `ray-ue VERB`: parses, calls the pipelines, prints, and turns errors of the user into one line."""

import os
import sys
from collections.abc import Sequence

from ray_ue.cli import commands
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
    refuse_odd,
)
from ray_ue.cli.exchange import convert_copy, export_perturbations, join_leaderboard
from ray_ue.cli.output import print_check, print_copy, print_evaluation, print_measurement, print_plan, print_sweep
from ray_ue.cli.stopping import answer, stop_behind
from ray_ue.engine.errors import find_user_error
from ray_ue.pipelines import check, evaluate, measure, protect
from ray_ue.pipelines.rehearsal import look, problems
from ray_ue.progress import harmless
from ray_ue.results.tables import RESULTS, TRIALS
from ray_ue.sources.storage import unanswered
from ray_ue.storage.artifacts import Folder
from ray_ue.sweeps import request as sweep_request
from ray_ue.version import PACKAGES, installed_or_empty

USER_ERROR, VERIFY_ERROR = 2, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0, 1 (the copy fails verification), 2 (the request cannot work), 130 (Ctrl+C) or 143 (SIGTERM).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = run_command(words)
        print(end="", flush=True)  # here, where a reader who has gone and a full disk are answered
        return code
    except BrokenPipeError:  # as in `ray-ue … | head`, which closes the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as stop:
        return answer(stop)
    except Exception as error:
        if (stop := stop_behind(error)) is not None:
            return answer(stop)
        if (user_error := find_user_error(error) or find_user_error(find_unreachable_store(words))) is None:
            raise
        print(harmless(f"ray-ue: {' '.join(str(user_error).split())}"), file=sys.stderr)
        return VERIFY_ERROR if type(user_error).__name__ == "VerifyError" else USER_ERROR  # importing the class would import Ray


def run_command(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(commands.usage())
        return 0
    if words[0] == "--version":
        print("\n".join(f"{name} {installed_or_empty(name) or 'is not installed'}" for name in PACKAGES))
        return 0
    name = words[0]
    arguments = commands.parse_arguments(name, words[1:])
    refuse_odd(arguments)
    match arguments:
        case VerifyArguments():
            return verify_copy(arguments, words)
        case EvaluateArguments():
            return evaluate_copies(arguments, words)
        case CheckArguments():
            return check_copy(arguments, words)
        case SweepArguments():
            return sweep_settings(arguments, words)
        case MeasureArguments():
            return measure_information(arguments, words)
        case ReportArguments():
            run = find_run(arguments.run)
            return print_plan(words, "", uris=(arguments.run,)) if arguments.dry_run else write_report(run)
        case PerturbationsArguments():
            return export_perturbations(arguments, words)
        case ConvertArguments():
            return convert_copy(arguments, words)
        case LeaderboardArguments():
            return join_leaderboard(arguments, words)
        case DoctorArguments():
            return run_doctor(arguments)
        case CompletionArguments():
            print(commands.completion_script(arguments.shell))
            return 0
        case NoArguments():
            from ray_ue.methods import describe  # imports torch

            print(describe())
            return 0
        case ProtectArguments():
            return protect_source(arguments, words, until=commands.find_command(name).until)
    raise AssertionError(f"no function runs {name}")


def protect_source(arguments: ProtectArguments, words: Sequence[str], *, until: str) -> int:
    """Run the stages of a copy up to `until`, or only plan or preview them."""
    job = protect.plan(
        arguments.source,
        arguments.output,
        recipe=arguments.recipe,
        resources=arguments.resources,
        anew=arguments.anew,
        prune=arguments.prune,
        max_gone=arguments.max_gone,
    )
    if arguments.dry_run:
        uris = (arguments.source, arguments.output, arguments.recipe.embeddings)
        seen = look(job)
        print_plan(words, protect.describe(job, seen, nodes=arguments.nodes), uris=uris)
        found = list(problems(job, seen))
        print(harmless("".join(f"ray-ue: {problem}\n" for problem in found)), end="", file=sys.stderr)
        return USER_ERROR if found else 0
    if arguments.preview:
        from ray_ue.cli.preview import preview

        page = preview(job, count=arguments.preview)
        print(f"preview       {page}  (keep it private: it holds clean images)\nthe copy      run the same command without --preview")
        return 0
    return print_copy(job, protect.run(job, until=until), until)


def verify_copy(arguments: VerifyArguments, words: Sequence[str]) -> int:
    """Read a copy back and verify it."""
    if arguments.dry_run:
        protect.reopen(arguments.output, resources=arguments.resources)
        return print_plan(words, "", uris=(arguments.output,))
    return print_copy(*protect.verify(arguments.output, resources=arguments.resources), "verify")


def run_doctor(arguments: DoctorArguments) -> int:
    """Print the doctor's findings; 1 if there is a problem."""
    from ray_ue.cli import doctor

    problems = 0
    for finding in doctor.examine(arguments.folder):
        print(doctor.format_finding(finding), flush=True)
        problems += finding.state == "bad"
    print(f"\n{problems} problem{'s' if problems > 1 else ''} to fix" if problems else "\nready")
    return 1 if problems else 0


def evaluate_copies(arguments: EvaluateArguments, words: Sequence[str]) -> int:
    """Evaluate copies, and print the headline."""
    job = evaluate.plan(
        arguments.copies,
        clean=arguments.clean,
        test=arguments.test,
        results=arguments.results,
        grid=arguments.grid,
        format=arguments.format,
        resources=arguments.resources,
    )
    evaluate.refuse_trained_on(clean=job.clean, test=job.test)
    if arguments.dry_run:
        uris = (*arguments.copies, arguments.clean, arguments.test, arguments.results, *arguments.grid.purified_folders())
        return print_plan(words, evaluate.describe(job, nodes=arguments.nodes), uris=uris)
    return print_evaluation(evaluate.run(job))


def check_copy(arguments: CheckArguments, words: Sequence[str]) -> int:
    """Check a copy on a part of its own images, and print the verdict."""
    job = check.plan(
        arguments.copy,
        clean=arguments.clean,
        results=arguments.results,
        images=arguments.images,
        format=arguments.format,
        resources=arguments.resources,
    )
    if arguments.dry_run:
        return print_plan(words, evaluate.describe(job), uris=(arguments.copy, job.clean, arguments.results))
    return print_check(evaluate.run(job), job.copies[0].recipe)


def sweep_settings(arguments: SweepArguments, words: Sequence[str]) -> int:
    """Sweep over settings, and print the table."""
    resume = arguments.resume
    if resume and arguments != SweepArguments(resume=resume, resources=arguments.resources, dry_run=arguments.dry_run):
        raise ValueError(f"--resume {resume} continues with the flags of that sweep; leave out all others but those of resources")
    if resume:
        request = sweep_request.reopen(resume, resources=arguments.resources)
    else:
        request = sweep_request.plan(
            arguments.source,
            arguments.output,
            test=arguments.test,
            recipe=arguments.recipe,
            grid=arguments.evaluate,
            search=arguments.search,
            resources=arguments.resources,
        )
    if arguments.dry_run:
        uris = (request.source, request.home.uri, request.test, resume, request.recipe.embeddings)
        return print_plan(words, sweep_request.describe(request), uris=uris)
    from ray_ue.sweeps.run import run

    return print_sweep(run(request))


def measure_information(arguments: MeasureArguments, words: Sequence[str]) -> int:
    """Measure mutual information, and print the correlations."""
    plan = measure.plan(arguments.runs, measurement=arguments.measurement, resources=arguments.resources)
    if arguments.dry_run:
        return print_plan(words, f"  measure  {sum(map(len, plan.lines.values()))} victims", uris=arguments.runs)
    return print_measurement(measure.run(plan))


def find_run(run: str) -> Folder:
    """The folder of a finished evaluation or sweep."""
    folder = Folder.at(run)
    if not folder.exists(TRIALS.name) and not folder.exists(RESULTS.name):
        raise ValueError(f"{folder.uri} holds no {RESULTS.name}; name a folder that ray-ue evaluate or sweep wrote, once it has finished")
    return folder


def write_report(folder: Folder) -> int:
    """Write the page of a run again."""
    if folder.exists(TRIALS.name):
        from ray_ue.report.sweep.page import write_sweep_page

        write_sweep_page(folder)
        return print_sweep(folder)
    from ray_ue.report import report  # imports what draws curves

    report(folder)
    return print_evaluation(folder)


def find_unreachable_store(words: Sequence[str]) -> Exception | None:
    """The error of the first object store in a command that does not answer: a client may report that as "no such file"."""
    values = (word.rpartition("=")[2] if word.startswith("--") else word for word in words)
    return next((error for uri in values if "://" in uri and (error := unanswered(uri))), None)
