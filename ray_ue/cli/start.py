"""The command `ray-ue`: it listens for signals before anything large is imported, and ends as the first of them asks."""

import os
import sys
import warnings

from ray_ue.cli.stopping import answer, leave, watch_for_signals


def run() -> None:
    """One line on Ctrl+C and SIGTERM, also while modules are imported, and an exit that no thread of Ray can turn into a crash."""
    watch_for_signals()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # on damaged metadata of a picture, which names no picture
    try:
        os.getcwd()
    except FileNotFoundError:  # what is imported below ends the process without a word of it
        sys.stderr.write("ray-ue: the folder in which this runs was deleted; cd to one that is there\n")
        leave(2)
    try:
        from ray_ue.cli.main import main

        code = main()
    except KeyboardInterrupt as stop:
        code = answer(stop)
    leave(code)


if __name__ == "__main__":
    run()
