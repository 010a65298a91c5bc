"""`leaderboard`: results of evaluations, merged into one table and page."""

from pathlib import Path
from typing import Any

from ray_ue.config.grid import EVERYDAY, QUICK, split_list
from ray_ue.results.evaluation import RUN
from ray_ue.results.leaderboard import LEADERBOARD, entries, merged
from ray_ue.results.tables import RESULTS
from ray_ue.storage.artifacts import Folder

WANTED = split_list(str(QUICK["defenses"]))  # of the everyday defenses


def add(results: tuple[str | Path, ...], *, board: str | Path, data_set: str = "") -> list[dict[str, Any]]:
    """Add evaluations to the leaderboard in the folder `board`; returns all its lines, the best first.

    `data_set` names the images; if empty, they are called as the folder of the clean images. A `ValueError` for an evaluation that lacks
    controls, seeds or a worst case; then nothing is added.
    """
    home, lines = join(results, board=board, data_set=data_set)
    home.check_writable()
    LEADERBOARD.write(home, lines)
    from ray_ue.report.leaderboard import write_leaderboard

    write_leaderboard(home)
    return lines


def join(results: tuple[str | Path, ...], *, board: str | Path, data_set: str = "") -> tuple[Folder, list[dict[str, Any]]]:
    """The leaderboard's folder, and the lines that `add` would write."""
    if not results:
        raise ValueError("name at least one evaluation: ray-ue leaderboard add photos-protected.evaluation/")
    home = Folder.at(str(board))
    if (names := home.names()) and LEADERBOARD.name not in names:
        raise ValueError(f"{home.uri} is not empty and holds no leaderboard; name a new folder with --board")
    lines = LEADERBOARD.read_if_present(home).to_pylist()
    for result in map(str, results):
        run = Folder.at(result)
        if not run.exists(RUN) or not run.exists(RESULTS.name):
            raise ValueError(f"{run.uri} holds no finished evaluation; name a folder that ray-ue evaluate wrote")
        request = run.read_json(RUN)
        try:
            name = data_set or request["clean"].rstrip("/").rsplit("/", 1)[-1]
            lines = merged(lines, entries(RESULTS.read(run), request, data_set=name, everyday=split_list(EVERYDAY), wanted=WANTED))
        except ValueError as error:
            raise ValueError(f"{run.uri} cannot join: {error}") from error
    return home, lines
