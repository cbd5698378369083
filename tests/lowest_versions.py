"""Write a pip constraints file that holds every direct dependency at its lower bound.

`tox -e lowest` installs with it, so that a bound in `pyproject.toml` is a version somebody has run, never a guess.
The dependencies of the dependencies stay free.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FLOOR = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*>=\s*(?P<version>[0-9][^,;\s]*)")


def lowest_versions(project: dict[str, Any]) -> list[str]:
    """Return one `name==version` line per requirement of the `[project]` table, extras included.

    Raises:
        ValueError: A requirement has no lower bound.
    """
    requirements = list(project["dependencies"])
    for extra in project.get("optional-dependencies", {}).values():
        requirements += extra
    pinned = []
    for requirement in requirements:
        floor = FLOOR.match(requirement)
        if floor is None:
            raise ValueError(f"no lower bound: {requirement}")
        pinned.append(f"{floor['name']}=={floor['version']}")
    return sorted(set(pinned))


def main() -> None:
    """Write the constraints to the path given as the only argument, and show them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = "\n".join(lowest_versions(project)) + "\n"
    Path(sys.argv[1]).write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
