"""The checks by name, in the order in which they run: what is most asked for comes first, as time may run out."""

from benchmarks.gpu import lanes, numerics, protection, speed, system
from benchmarks.gpu.rows import Check

CHECKS: dict[str, Check] = {
    "resnet18": Check(about="a ResNet-18 victim over a bare compiled loop", work=speed.resnet18, seconds=100),
    "fast": Check(about="the fast victim over a bare compiled loop, and how busy the device is", work=speed.fast, seconds=80),
    "mi-ue": Check(about="MI-UE's sign steps over bare slopes", work=speed.mi_ue, seconds=120),
    "uc": Check(about="UC through the default surrogate over bare slopes", work=speed.uc, seconds=60),
    "simclr": Check(about="contrastive steps over bare passes", work=speed.simclr, seconds=40),
    "record": Check(about="a victim of recorded steps (CUDA graphs) and of plain ones", work=numerics.recording, seconds=60),
    "precision": Check(about="mixed precision against fp32", work=numerics.mixed, seconds=60),
    "banks": Check(about="banks of the device against a CPU's", work=numerics.banks, seconds=60),
    "generator": Check(about="UC's generators as measured and as saved", work=numerics.generator, seconds=30),
    "resume": Check(about="a crafting that is killed and goes on", work=system.resume, seconds=60),
    "embed": Check(about="the embedding stage over decoding and encoding", work=system.embed, seconds=90),
    "kmeans": Check(about="faiss against torch", work=numerics.kmeans, seconds=60),
    "doctor": Check(about="ray-ue doctor", work=system.doctor, seconds=90),
    "compile": Check(about="a victim compiled and not", work=numerics.compiling, seconds=100),
    "uc-victims": Check(about="UC on a slice and its victims", work=protection.uc_victims, seconds=60),
    "mi-ue-victims": Check(about="MI-UE on a slice and its victims", work=protection.mi_ue_victims, seconds=90),
    "lanes": Check(about="two victims on one device at a time", work=lanes.lanes, seconds=90),
    "clean": Check(about="ResNet-18's clean accuracy", work=protection.clean, seconds=90),
}
