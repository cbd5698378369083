"""Write ``docs/spec_map.rst`` from the rows and from the marks on all tests: ``python -m tests.spec.generate``.

Collects in a process of its own and must never run a test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.spec.document import MAP_FILE, render
from tests.spec.rows import load_rows

ROOT = Path(__file__).resolve().parents[2]
"""The root of this checkout."""

_COLLECTION_SECONDS = 120


def collect_proofs(root: Path) -> dict[str, list[str]]:
    """Collect the tests below ``root`` and give, for each marked id, the sorted names of its tests.

    Raises:
        RuntimeError: when the collection fails, with what pytest printed.
        subprocess.TimeoutExpired: when it takes longer than two minutes.
    """
    # Options meant for a run of the caller (a keyword, say) would leave tests out here.
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch, "requirements.json")
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
        command += ["-p", "tests.spec.plugin", f"--rootdir={root}", f"--requirements-json={target}", "tests"]
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, timeout=_COLLECTION_SECONDS, check=False
        )
        if done.returncode:
            raise RuntimeError(f"the tests cannot be collected:\n{done.stdout}{done.stderr}")
        return {id_: list(tests) for id_, tests in json.loads(target.read_text(encoding="utf-8")).items()}


def main() -> None:
    """Bring the committed page up to date."""
    page = render(load_rows(ROOT), collect_proofs(ROOT))
    (ROOT / MAP_FILE).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
