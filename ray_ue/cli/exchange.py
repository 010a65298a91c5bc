"""Commands that write what others read: perturbations, copies in other forms, a leaderboard."""

from collections.abc import Sequence

from ray_ue.cli.arguments import ConvertArguments, LeaderboardArguments, PerturbationsArguments
from ray_ue.cli.output import print_plan
from ray_ue.pipelines import perturbations
from ray_ue.storage.artifacts import Folder


def export_perturbations(arguments: PerturbationsArguments, words: Sequence[str]) -> int:
    """Write a copy's perturbations for other tools."""
    if arguments.dry_run:
        perturbations.find_perturbations(arguments.output, arguments.file)
        return print_plan(words, "", uris=(arguments.output, arguments.file))
    print(perturbations.take_perturbations(arguments.output, arguments.file, unit=arguments.unit))
    return 0


def convert_copy(arguments: ConvertArguments, words: Sequence[str]) -> int:
    """Write a copy in a form that other people's code reads."""
    from ray_ue.pipelines import convert

    if arguments.dry_run:
        convert.plan(arguments.copy, arguments.target, size=arguments.size, format=arguments.format)
        return print_plan(words, "", uris=(arguments.copy, arguments.target))
    print(convert.convert(arguments.copy, arguments.target, size=arguments.size, format=arguments.format))
    return 0


def join_leaderboard(arguments: LeaderboardArguments, words: Sequence[str]) -> int:
    """Add evaluations to a leaderboard, and print where it is."""
    from ray_ue.pipelines import leaderboard

    if arguments.dry_run:
        leaderboard.join(arguments.results, board=arguments.board, data_set=arguments.data_set)
        return print_plan(words, "", uris=(*arguments.results, arguments.board))
    lines = leaderboard.add(arguments.results, board=arguments.board, data_set=arguments.data_set)
    home = Folder.at(arguments.board)
    print(f"{len(lines)} copies, best everyday worst case {100 * lines[0]['everyday']:.1f} % kept ({lines[0]['copy']})")
    print(f"page          {home.path('leaderboard.html')}\ntable         {home.path('leaderboard.parquet')}")
    return 0
