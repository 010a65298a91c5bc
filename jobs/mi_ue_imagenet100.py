"""MI-UE on a 100-class part of ImageNet: one perturbation per image, told the labels, 8/255, ResNet-18 at 224 pixels, 100 epochs.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- python jobs/mi_ue_imagenet100.py s3://bucket/imagenet100 s3://bucket/protected
    python jobs/mi_ue_imagenet100.py photos out --image-size 32 --resize 0 --settings network=fast,epochs=2   # toy data; later flags win

The source needs class folders or a label column. Then `python jobs/evaluate.py COPY --test T --victims resnet18 --training paper-mi-ue`.

What is the paper's: 100 epochs of one training pass (batch 128) and one pass of ten sign steps (batch 512), 8/255, similarity and distance
terms (zeta 0.1), sign steps of 0.4/255 for this data set. Images are exported at the 224 pixels that the perturbation was made for: the
released code makes it for a centre crop and adds it to the image before that crop.

Hours:   NOT RUN. Derived: 126,689 images x 1,100 passes are 139 million passes, 1.1 EFLOP: 13 h at the 23 TFLOP/s at which NVIDIA
         reports ResNet-50 training in TF32 on one A100 (938 images/s). `--dry-run` on a GPU node measures this network's own pace.
Cost:    on that reckoning 13 A100-hours; disk for the perturbations and views, about 90 GB (`--dry-run` tells).
Result:  not reproduced. The paper reports 1.03 % accuracy for ResNet-18 (clean: 80.43 %). At a tenth of its passes on CIFAR-10, TAP
         and EM were stronger than MI-UE here (docs/experiments/).
"""

import sys

from ray_ue.cli.main import main

DEFAULTS = [
    *["--method", "mi-ue", "--groups", "label", "--budget", "8/255", "--image-size", "224", "--resize", "224", "--image-format", "webp"],
    *["--settings", "epochs=100,batch=128,poison_batch=512,steps=10,step=0.4,zeta=0.1,network=resnet18"],
]

if __name__ == "__main__":
    sys.exit(main(["protect", *DEFAULTS, *sys.argv[1:]]))
