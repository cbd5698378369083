"""Name every interpreter the tests ran on, and fail where one that this machine has did not run.

tox skips what it cannot find without failing, so a machine whose PATH is not as expected would test less and still
look green.  The proof is tox's own result file; whatever is on PATH and starts is what must appear in it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

NAME = re.compile(r"python3\.(\d+)")
OLDEST = 11


def found_minors() -> set[int]:
    """Return the minor versions of every Python 3 on PATH, from the oldest supported one, that really starts."""
    found = set()
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        for program in sorted(Path(folder or ".").glob("python3.*")):
            name = NAME.fullmatch(program.name)
            if name is None or int(name[1]) < OLDEST or int(name[1]) in found:
                continue
            probe = [str(program), "-c", "import sys; print(sys.version_info.minor)"]
            try:
                answer = subprocess.run(probe, capture_output=True, text=True, timeout=60, check=False)
            except OSError:
                continue
            if answer.returncode == 0:  # a shim of an interpreter that is not selected starts and fails
                found.add(int(answer.stdout))
    return found


def ran_minors(result: dict[str, Any]) -> dict[int, str]:
    """Return the minor version and full version text of each `py3xx` environment that ran its commands."""
    ran = {}
    for name, env in result.get("testenvs", {}).items():
        if re.fullmatch(r"py3\d+", name) and env.get("test") and not env["result"].get("skipped"):
            python = env["python"]
            ran[python["version_info"][1]] = f"{name}: {python['version']} ({python['executable']})"
    return ran


def main() -> int:
    """Print the interpreters that ran and those that did not; return the exit status."""
    path = Path(sys.argv[1])
    ran = ran_minors(json.loads(path.read_text()) if path.exists() else {})
    for _, line in sorted(ran.items()):
        print("ran on", line)
    missing = (found_minors() | {OLDEST}) - ran.keys()
    for minor in sorted(missing):
        print(f"did NOT run on Python 3.{minor}, although " + ("it must" if minor == OLDEST else "this machine has it"))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
