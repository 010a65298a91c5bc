"""The environment of a local Ray is set before Ray is imported: until then no module that the commands load may import it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["ray_ue", "ray_ue.cli.main", "ray_ue.pipelines.protect", "ray_ue.pipelines.evaluate", "ray_ue.sweeps.run"]
)
def test_what_the_commands_load_leaves_ray_unimported(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in sys.modules if name.partition('.')[0] in ('ray', 'faiss')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert not done.stdout.split(), "set up first (ray_ue.engine.environment), then import Ray"
