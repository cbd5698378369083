"""Sphinx configuration.  Building needs no network: nothing is fetched, not even other projects' inventories."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

project = "trio-mcp-transport"
author = "The trio-mcp-transport contributors"
copyright = "2026, the trio-mcp-transport contributors"
release = version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib_trio"]
exclude_patterns = ["_build"]
html_theme = "furo"

# The docstrings write `Name` for a thing of this package; what is not found stays plain code.
default_role = "py:obj"
# Our own names must resolve; the names of other projects cannot, without their inventories.
nitpicky = True
# Private bases and type variables are shown in signatures and have no page.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!trio_mcp_transport\b).*"),
    (r"py:.*", r"trio_mcp_transport\.(\w+\.)*(_\w+|[A-Z])"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
