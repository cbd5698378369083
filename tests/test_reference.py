"""Every public module has its page in the reference, and no page outlives its module."""

from __future__ import annotations

from pathlib import Path

from docs.generate_reference import committed, module_names, pages
from tests.package_tree import PACKAGE, ROOT

UPDATE = "run `python docs/generate_reference.py` and commit what it writes"


def test_the_reference_is_up_to_date() -> None:
    wanted, there = pages(PACKAGE), committed(ROOT / "docs" / "reference")
    assert sorted(wanted) == sorted(there), UPDATE
    assert [name for name in wanted if wanted[name] != there[name]] == [], UPDATE


def test_the_front_page_leads_to_every_page() -> None:
    front = (ROOT / "docs" / "reference" / "index.rst").read_text(encoding="utf-8")
    assert ":glob:" in front
    assert "\n   *\n" in front


def test_public_modules_and_folders_have_pages(tmp_path: Path) -> None:
    for name in ("__init__.py", "__main__.py", "_hidden.py", "abc.py", "wire/__init__.py", "wire/codec.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert module_names(tmp_path) == ["abc", "wire", "wire.codec"]
    assert ":members:" not in pages(tmp_path)["wire.rst"]
    assert ":members:" in pages(tmp_path)["wire.codec.rst"]
