"""Which number of clusters and which budget? UC with twelve settings, each against three labellings: `ray-ue sweep` as a Ray job.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \
        python jobs/sweep_uc.py s3://bucket/in s3://bucket/sweep --test s3://bucket/test
    python jobs/sweep_uc.py photos sweep --test photos-test --dry-run --vary clusters=2,3 --evaluate.epochs 1   # later flags win

Hours:   NOT RUN as it stands. `--dry-run` counts the victims: with the defaults 108 on twelve copies, and 36 controls. Measured on
         two CPU cores (docs/log.md): copies with p of 10 to 100 and 8/255 or 16/255, made and evaluated by hand.
Cost:    victims times the length of one; all settings share one embedding, and one clustering per number of clusters.
Result:  sweep.md, sweep.parquet and report.html in OUTPUT, which is private. At small scale more clusters protected less from p = 20
         on.
"""

import sys

from ray_ue.cli import main

AXES = ["--vary", "clusters=5,10,20,50", "--vary", "budget=8,16,32"]
DEFAULTS = ["--evaluate.relabels", "identity,super:5,pseudo:10", "--evaluate.defenses", "none"]


def words(asked: list[str]) -> list[str]:
    """A flag that is given again wins; only `--vary` adds to what is there, so ours is left out when one is given."""
    varied = any(word.partition("=")[0] == "--vary" for word in asked)
    return ["sweep", *([] if varied else AXES), *DEFAULTS, *asked]


if __name__ == "__main__":
    sys.exit(main(words(sys.argv[1:])))
