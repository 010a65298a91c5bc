"""Known vulnerabilities of the pinned dependencies, by pip-audit, where its data can be reached: `make audit`, and a part of `make lint`.

    .venv/bin/python -m tools.audit

Ends with 1 when something is found. Where pip-audit does not run, or its index knows none of the packages, as behind a mirror, it says so
in one line and ends with 0: pip-audit itself calls that a success.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PINS = ROOT / "constraints.txt"
TOOL = "pip-audit==2.10.1"


def main() -> int:
    uv = Path(sys.executable).with_name("uv")
    words = ["--requirement", str(PINS), "--disable-pip", "--no-deps", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run([uv, "tool", "run", "--quiet", TOOL, *words], capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"audit skipped: pip-audit gave no result ({(done.stderr.strip().splitlines() or ['no reason told'])[-1]})")
        return 0
    known = [package for package in packages if "skip_reason" not in package]
    if not known:
        print(f"audit skipped: the index gives no vulnerability data for any of {len(packages)} packages")
        return 0
    found = [(package, fault) for package in known for fault in package["vulns"]]
    for package, fault in found:
        fixed = ", ".join(fault["fix_versions"]) or "nothing yet"
        print(f"{package['name']} {package['version']}: {fault['id']}, mended in {fixed}")
    print(f"audit: {len(found)} known vulnerabilities in {len(known)} of {len(packages)} packages, the others are unknown to the index")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
