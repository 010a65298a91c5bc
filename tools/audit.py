"""Known vulnerabilities of the pinned dependencies, by pip-audit, where its data can be reached: `make audit`, and a part of `make lint`.

    .venv/bin/python -m tools.audit

Ends with pip-audit's exit code: 1 when something is found. Where the Python Package Index does not give its vulnerability data, as
behind a mirror, it says so in one line and ends with 0: pip-audit itself would call every package unknown, and that a success.
"""

import json
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).parents[1]
PINS = ROOT / "constraints.txt"
TOOL = "pip-audit==2.10.1"
PATIENCE = 3  # seconds


def address() -> str:
    """Where the index tells what is known of the first pinned version; an index without this version knows nothing of the others."""
    name, _, number = PINS.read_text().splitlines()[0].partition("==")
    return f"https://pypi.org/pypi/{name}/{number}/json"


def reachable(address: str) -> str:
    """Why there is no vulnerability data at an address; empty when there is."""
    try:
        with urlopen(address, timeout=PATIENCE) as answer:
            found = json.load(answer)
    except (URLError, TimeoutError, ValueError) as error:
        return str(error)
    return "" if isinstance(found, dict) and "vulnerabilities" in found else "it names no vulnerabilities"


def main() -> int:
    if why := reachable(asked := address()):
        print(f"audit skipped: {asked} does not give its data ({why})")
        return 0
    uv = Path(sys.executable).with_name("uv")
    words = ["--requirement", str(PINS), "--disable-pip", "--no-deps"]
    return subprocess.run([uv, "tool", "run", "--quiet", TOOL, *words], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
