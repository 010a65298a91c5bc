"""The checks of `make gpu` whose outcome does not depend on the card: the same numbers on a GPU as elsewhere, to a stated tolerance."""

from pathlib import Path

import pytest
import torch

from benchmarks.gpu.checks import CHECKS
from benchmarks.gpu.pictures import Pictures, open_pictures
from benchmarks.gpu.rows import Setting

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]

LAWS = ("precision", "banks", "generator", "resume", "kmeans", "record", "compile", "uc-victims", "mi-ue-victims", "doctor")


@pytest.fixture(scope="session")
def pictures() -> Pictures:
    return open_pictures("")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", LAWS)
def test_the_laws_of_a_check_hold_on_a_gpu(name: str, pictures: Pictures, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU: torch.cuda.is_available() is False")
    rows = list(CHECKS[name].work(Setting(device=torch.device("cuda"), tiny=False, pictures=pictures, scratch=tmp_path)))
    assert any(row.law for row in rows)
    assert not [f"{row.what}: {row.judged:g}, not {row.goal}" for row in rows if row.law and row.verdict == "missed"]
