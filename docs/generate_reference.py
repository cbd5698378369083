"""Write one page of the reference per module of the package: ``python docs/generate_reference.py``.

The pages are committed; `tests/test_reference.py` fails when they are not what this script writes.  The front page,
``docs/reference/index.rst``, is written by hand.  Must never import the package.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "trio_mcp_transport"


def module_names(package: Path) -> list[str]:
    """Return the dotted names, below the package, of its public modules and of its folders that hold some."""
    names = []
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if parts and not any(part.startswith("_") for part in parts):
            names.append(".".join(parts))
    return sorted(names)


def page(name: str, is_folder: bool) -> str:
    """Return the page of a module; what a folder re-exports is shown where it is defined."""
    title = f"``{NAME}.{name}``"
    text = f"{title}\n{'=' * len(title)}\n\n.. automodule:: {NAME}.{name}\n"
    return text if is_folder else text + "   :members:\n"


def pages(package: Path) -> dict[str, str]:
    """Return every page of the reference but its front page: file name -> text."""
    return {f"{name}.rst": page(name, package.joinpath(*name.split(".")).is_dir()) for name in module_names(package)}


def committed(folder: Path) -> dict[str, str]:
    """Return the pages that are there now."""
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.rst") if path.name != "index.rst"}


def main() -> None:
    """Bring the folder up to date, and say what changed."""
    folder = ROOT / "docs" / "reference"
    wanted, there = pages(ROOT / NAME), committed(folder)
    for name in sorted(there.keys() - wanted.keys()):
        (folder / name).unlink()
        print("removed", name)
    for name, text in sorted(wanted.items()):
        if there.get(name) != text:
            (folder / name).write_text(text, encoding="utf-8")
            print("wrote", name)


if __name__ == "__main__":
    main()
