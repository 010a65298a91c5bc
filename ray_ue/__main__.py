"""`python -m ray_ue VERB`: the command line where there is no `ray-ue` command, as in a job's working directory."""

from ray_ue.cli.start import run

if __name__ == "__main__":
    run()
