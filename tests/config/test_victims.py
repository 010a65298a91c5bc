"""Victims by name: what a name means, and what every wrong one is told."""

from pathlib import Path

import pytest

from ray_ue.config import victims
from ray_ue.config.victims import Victim, parse_victim
from ray_ue.models.names import FLAT, NETS, SMALL, TORCHVISION, UNNORMALISED
from ray_ue.models.pretrained.specs import Spec

CLIP = Spec(kind="open_clip", arch="RN50", weights="openai")
RESNET = Spec(kind="torchvision", arch="resnet18", weights="@w.pt")


@pytest.mark.parametrize(
    ("text", "victim"),
    [
        ("fast", Victim(name="fast", how="scratch", arch="fast")),
        (" resnet18 ", Victim(name="resnet18", how="scratch", arch="resnet18")),
        ("fast:0.2", Victim(name="fast:0.2", how="scratch", arch="fast", rate=0.2)),
        ("simclr:resnet18", Victim(name="simclr:resnet18", how="simclr", arch="resnet18")),
        ("moco:small", Victim(name="moco:small", how="moco", arch="small")),
        ("torchvision:resnet18@w.pt", Victim(name="torchvision:resnet18@w.pt", how="finetune", arch="resnet18", weights=RESNET)),
        ("probe:torchvision:resnet18@w.pt", Victim(name="probe:torchvision:resnet18@w.pt", how="probe", arch="resnet18", weights=RESNET)),
        ("probe:open_clip:RN50/openai", Victim(name="probe:open_clip:RN50/openai", how="probe", arch="RN50", weights=CLIP)),
    ],
)
def test_a_name_is_taken_apart(text: str, victim: Victim) -> None:
    assert parse_victim(text) == victim


@pytest.mark.parametrize("arch", NETS)
def test_every_network_is_a_victim_and_all_but_the_flat_ones_learn_from_views(arch: str) -> None:
    assert parse_victim(arch).arch == arch
    if arch not in FLAT:
        assert parse_victim(f"moco:{arch}").how == "moco"


def test_the_lists_hold_every_network_once() -> None:
    assert len({*SMALL, *TORCHVISION}) == len(NETS)
    assert set(UNNORMALISED) <= set(NETS)
    assert all(parse_victim(example.split(" ")[0]) for example in victims.EXAMPLES.replace("@FILE", "@w.pt").split(", "))


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("resnet19", r"no victim is called 'resnet19'; did you mean 'resnet18'\? there are linear, mlp2, .*vit_b_16"),
        ("fast:slow", "the victim 'fast:slow' has no learning rate above 0 behind its colon; write for example fast:0.2"),
        ("resnet18:-1", "the victim 'resnet18:-1' has no learning rate above 0"),
        ("resnet18:nan", "the victim 'resnet18:nan' has no learning rate above 0"),
        ("fast:", "the victim 'fast:' has no learning rate above 0"),
        ("zebra", "no victim is called 'zebra'; there are linear"),
        ("simclr:resnet19", r"no victim is called 'resnet19'; did you mean 'resnet18'\?"),
        ("moco:", "no victim is called ''; there are"),
        ("simclr:linear", "the victim 'simclr:linear' has no convolutions, as contrastive training needs; use simclr:fast"),
        ("moco:mlp2", "use moco:fast or moco:resnet18"),
        ("clip:RN50", "the victim 'clip:RN50' cannot be parsed; write for example fast, fast:0.2 .*, resnet18, simclr:resnet18"),
        ("open_clip:RN50", "the victim 'open_clip:RN50' cannot be parsed"),
        ("probe:resnet18", "the victim 'probe:resnet18' cannot be parsed; write for example .*probe:open_clip:RN50/openai"),
        ("ssl:small", "the victim 'ssl:small' names a network that is trained on the images; write simclr:small"),
        ("probe:ssl:small", "write simclr:small"),
    ],
)
def test_a_wrong_name_is_told_what_would_have_worked(text: str, phrase: str) -> None:
    with pytest.raises(ValueError, match=phrase):
        parse_victim(text)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("torchvision:resnet19@w.pt", "torchvision has no architecture 'resnet19'; the nearest names are resnet18"),
        ("torchvision:resnet18@nowhere.pt", "there is no weights file nowhere.pt"),
        ("probe:torchvision:resnet18@w.zip", "the weights file w.zip must end in one of"),
        ("torchvision:resnet18/V9", "torchvision:resnet18 has no weights 'V9'; there are IMAGENET1K_V1"),
    ],
)
def test_what_cannot_be_loaded_is_refused_before_loading(text: str, phrase: str) -> None:
    with pytest.raises(ValueError, match=phrase):
        parse_victim(text).check()


def test_a_victim_from_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"one")
    (tmp_path / "b.pt").write_bytes(b"one")
    (tmp_path / "c.pt").write_bytes(b"other")
    a, b, c = (parse_victim(f"torchvision:resnet18@{tmp_path / name}").identity() for name in ("a.pt", "b.pt", "c.pt"))
    assert a == b != c
    assert a != parse_victim(f"probe:torchvision:resnet18@{tmp_path / 'a.pt'}").identity()
    assert str(tmp_path) not in str(a)
    (tmp_path / "a.pt").write_bytes(b"third")
    assert parse_victim(f"torchvision:resnet18@{tmp_path / 'a.pt'}").identity() != a, "a file that was written anew is read anew"
