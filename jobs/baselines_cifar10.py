"""Every baseline of the field on CIFAR-10, told the labels, at 8/255; then one evaluation of all copies with the victims of MI-UE's tables.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \
        python jobs/baselines_cifar10.py s3://bucket/cifar10 s3://bucket/baselines --test s3://bucket/cifar10-test
    python jobs/baselines_cifar10.py photos out --test photos-test --methods lsp,ops --seed 1 -- --victims linear --epochs 1 --training fast

`--methods` takes some of them; other flags before `--` are those of protect, flags after it those of evaluate, and both win over ours.
Copies go to OUTPUT/METHOD, the evaluation to OUTPUT/evaluation. A stopped job continues, also with more methods.

Hours:   NOT RUN at this length. The methods' own settings take 931 million image passes of ResNet-18 at 32 pixels, most of them for
         tue (396), rem (387) and em (at most 60); the evaluation trains 7 victims x 3 seeds on 10 copies and as many controls as they
         need, 10 million passes each. No pace of these networks on a GPU was measured, so no hours are derived; `ray-ue protect …
         --method NAME --dry-run` measures it on a node.
Cost:    lsp, ar, ops and cuda train no network; without tue and rem (`--methods em,tap,sem,gue,lsp,ar,ops,cuda`) a sixth of the passes
         is left.
Result:  not reproduced. At about a tenth of the passes, on 2,500 images and another network: TAP 21.2, EM 24.5, LSP 37.2 % (clean
         58.6; docs/experiments/).
"""

import argparse
import sys

from ray_ue.cli.main import main
from ray_ue.engine.environment import prepare
from ray_ue.methods import METHODS

OTHERS = ("uc", "mi-ue", "noise", "given", "concept")  # ours, a control that every evaluation has, and two that need a file
BASELINES = [name for name in METHODS if name not in OTHERS]
PROTECT = ["--groups", "label", "--budget", "8/255"]
EVALUATE = [
    *["--victims", "resnet18,resnet50,densenet121,vit_b_16,lenet5,mlp3,mlp2", "--training", "paper-mi-ue"],
    *["--relabels", "identity", "--defenses", "none"],
]


def run(asked: list[str]) -> int:
    """Protect with each method, then evaluate; the exit code is that of the first command that fails."""
    cut = asked.index("--") if "--" in asked else len(asked)
    parser = argparse.ArgumentParser(prog="baselines_cifar10.py", allow_abbrev=False)
    parser.add_argument("source")
    parser.add_argument("output")
    parser.add_argument("--test", required=True)
    parser.add_argument("--methods", default=",".join(BASELINES))
    ours, protect = parser.parse_known_args(asked[:cut])
    copies = [f"{ours.output.rstrip('/')}/{name}" for name in ours.methods.split(",")]
    for name, copy in zip(ours.methods.split(","), copies, strict=True):
        if code := main(["protect", ours.source, copy, "--method", name, *PROTECT, *protect]):
            return code
    if "--dry-run" in protect:
        return 0  # there are no copies to plan an evaluation of
    results = f"{ours.output.rstrip('/')}/evaluation"
    return main(["evaluate", *copies, "--clean", ours.source, "--test", ours.test, "--results", results, *EVALUATE, *asked[cut + 1 :]])


if __name__ == "__main__":
    prepare()
    from ray_ue.engine.session import session  # Ray reads its settings when it is imported

    with session():  # one Ray for all of them
        sys.exit(run(sys.argv[1:]))
