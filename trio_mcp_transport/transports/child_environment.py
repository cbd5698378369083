"""What a child process learns about the environment of its parent.

This module must never pass on what is not on the list: environments hold credentials, and a server that a client starts
is code from elsewhere (M-SC-05, M-IO-20).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from trio_mcp_transport.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["INHERITED_VARIABLES", "child_environment"]

INHERITED_VARIABLES = frozenset(
    {"HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"}
)
"""The names a child inherits, besides every ``LC_*``: who and where it is, how to speak, and how to find programs.

Not on the list on purpose: ``PYTHONPATH``, ``LD_PRELOAD`` and their like, which change what code runs; proxy variables,
whose addresses carry passwords; agent sockets.  Name them in ``env`` where a server needs them.
"""


def child_environment(
    extra: Mapping[str, str] | None, *, inherit: bool = False, source: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Build the environment of a child.

    Args:
        extra: Variables of the child, stronger than inherited ones.
        inherit: Pass on everything, not only `INHERITED_VARIABLES` and ``LC_*``.
        source: The environment to inherit from; that of this process when None.

    Raises:
        ConfigError: A name or value in ``extra`` cannot be one.
    """
    if source is None:
        source = os.environ
    environment = {
        name: value
        for name, value in source.items()
        # A value that starts like this is a function an old shell exported, and would run as code (CVE-2014-6271).
        if inherit or ((name in INHERITED_VARIABLES or name.startswith("LC_")) and not value.startswith("()"))
    }
    for name, value in (extra or {}).items():
        if type(name) is not str or type(value) is not str:
            raise ConfigError(f"environment variable {name!r}: names and values are strings")
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise ConfigError(f"environment variable {name!r} cannot be passed to a process")
        environment[name] = value
    return environment
