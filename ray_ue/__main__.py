"""`python -m ray_ue VERB`: the command line where there is no `ray-ue` command, as in a job's working directory."""

import sys

from ray_ue.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
