"""Measure what protection is left in copies: `ray-ue evaluate` as a Ray job, with the same flags.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \
        python jobs/evaluate.py s3://bucket/out --clean s3://bucket/in --test s3://bucket/test --victims fast,resnet18

Hours:   `ray-ue evaluate … --dry-run` counts the cells; each trains one victim. Measured on two CPU cores (docs/experiments/): 144 cells of
         `fast` on 2,500 CIFAR-10 images in 31 min. On GPUs and on several nodes: not run.
Cost:    cells times the length of one; `--gpus-per-victim 0.25` trains four small victims on one GPU.
Result:  results.parquet, results.md and report.html in COPY.evaluation; keep it private, it holds clean images. A stopped job trains
         only the cells that are missing when it is submitted again.
"""

import sys

from ray_ue.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
