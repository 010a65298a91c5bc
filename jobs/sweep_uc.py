"""Which number of clusters and which budget? UC with twelve settings, each against three labellings: `ray-ue sweep` as a Ray job.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \
        python jobs/sweep_uc.py s3://bucket/in s3://bucket/sweep --test s3://bucket/test
    python jobs/sweep_uc.py photos sweep --test photos-test --dry-run --vary clusters=2,3 --evaluate.epochs 1   # later flags win

Hours:   59 min on two CPU cores for the first 5,000 rows of CIFAR-10 with `--evaluate.victims fast --evaluate.train-rows 1250
         --evaluate.test-rows 1000 --evaluate.curve-rows 100`: 108 victims on twelve copies, and 36 controls. `--dry-run` counts yours.
Cost:    victims times the length of one; all settings share one embedding, and one clustering per number of clusters.
Result:  sweep.md, sweep.parquet and report.html in OUTPUT, which is private. In that run five clusters at 32/255, plain to see, took
         most; at 8/255 nothing took more than 5 points (docs/experiments/).
"""

import sys

from ray_ue.cli.main import main

AXES = ["--vary", "clusters=5,10,20,50", "--vary", "budget=8,16,32"]
DEFAULTS = ["--method", "uc", "--evaluate.relabels", "identity,super:5,pseudo:10", "--evaluate.defenses", "none"]


def words(asked: list[str]) -> list[str]:
    """A flag that is given again wins; only `--vary` adds to what is there, so ours is left out when one is given."""
    varied = any(word.partition("=")[0] == "--vary" for word in asked)
    return ["sweep", *([] if varied else AXES), *DEFAULTS, *asked]


if __name__ == "__main__":
    sys.exit(main(words(sys.argv[1:])))
