"""The catalogue holds every check there is, once, and each says what it promises."""

from __future__ import annotations

import importlib
import pkgutil

from trio_mcp_transport.testing import transport_checks
from trio_mcp_transport.testing.transport_checks.catalogue import CHECKS
from trio_mcp_transport.testing.transport_checks.check import Check


def test_no_check_is_missing() -> None:
    found = []
    for one in pkgutil.iter_modules(transport_checks.__path__):
        module = importlib.import_module(f"{transport_checks.__name__}.{one.name}")
        found += [value for value in vars(module).values() if isinstance(value, Check)]
    assert sorted(check.name for check in CHECKS) == sorted({check.name for check in found})
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_every_check_promises_something() -> None:
    for check in CHECKS:
        assert check.promise.endswith("."), check.name
        assert len(check.promise) > 40, check.name
