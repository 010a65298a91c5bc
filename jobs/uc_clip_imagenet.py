"""UC-CLIP on ImageNet-1k: one generator per cluster of CLIP-RN50 features, p = 10, 16/255, exported at 224 pixels.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- python jobs/uc_clip_imagenet.py s3://bucket/imagenet s3://bucket/protected
    python jobs/uc_clip_imagenet.py photos out --surrogate ssl:small --steps 20       # toy data, no download; later flags win

Nodes without network need the weights as a file that all see: `--surrogate open_clip:RN50@/shared/RN50.safetensors`.

What is the released code's: surrogate, p, budget, KL to the next cluster's centre, generators on a fixed latent, every generator trained on
all images, Adam from 1e-4 along a cosine, 224-pixel images. What is ours: k-means with five restarts, 20,000 images to craft with, and the
length: 7,500 steps of 256 images give each of ten generators the 192,000 images that 750 steps of 256 give it on Pets. At the released 50
epochs, ImageNet would take 640 million passes. Lossless WebP instead of PNG: the same pixels in smaller files.

Hours:   NOT RUN. Derived: 1.92 million crafting passes of 24.4 GFLOP and 7,500 x 10 generator steps of 161 GFLOP are 59 PFLOP: 0.7 h
         at the 23 TFLOP/s at which NVIDIA reports ResNet-50 training in TF32 on one A100 (938 images/s). Embedding 1,281,167 images:
         0.2 h at that speed, if decoding keeps up (two CPU cores of ours: 724 images/s, so 0.5 h). Export: 4 h at the 86 images/s of
         two CPU cores (docs/experiments/).
Cost:    on that reckoning about one A100-hour, and eight CPU core-hours for the export; not run.
Result:  unknown. No CLIP weights were at hand: nothing here has been measured with this surrogate. Evaluate the copy before you rely
         on it.
"""

import sys

from ray_ue.cli.main import main

DEFAULTS = [
    *[
        "--method",
        "uc",
        "--surrogate",
        "open_clip:RN50/openai",
        "--image-size",
        "224",
        "--clusters",
        "10",
        "--budget",
        "16/255",
        "--aim",
        "shift",
        "--loss",
        "kl",
    ],
    *["--parameterization", "generator", "--data-scope", "all", "--learning-rate", "0.0001", "--steps", "7500", "--batch", "256"],
    *["--resize", "224", "--image-format", "webp"],
]

if __name__ == "__main__":
    sys.exit(main(["protect", *DEFAULTS, *sys.argv[1:]]))
