"""Protect a collection: `ray-ue protect` as a Ray job, with the same flags.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- python jobs/protect.py s3://bucket/in s3://bucket/out --clusters 10

Hours:   `ray-ue protect … --dry-run` counts rows, passes and disk before anything starts. Measured on two CPU cores (docs/experiments/):
         50,000 CIFAR-10 images in 6 min 12 s (`--ssl-steps 60 --workers local`), 500 photographs in 89 to 99 s (`--ssl-steps 40
         --steps 100`). On GPUs and on several nodes: not run.
Cost:    the nodes' price while it runs; crafting with UC does not grow with the collection, embedding and export do.
Result:  the copy in OUTPUT, verified, and OUTPUT.ray-ue beside it, which must stay private. A stopped job continues when it is
         submitted again.
"""

import sys

from ray_ue.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["protect", *sys.argv[1:]]))
