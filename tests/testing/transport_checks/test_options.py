"""Options make a plan: what a channel cannot do leaves out what needs it, and says why."""

from __future__ import annotations

from typing import Any

import pytest

from tests.testing.certify import Pairs
from trio_mcp_transport import NewlineCodec
from trio_mcp_transport.testing.transport_checks.check import Check, Need
from trio_mcp_transport.testing.transport_checks.options import SWITCHES, CheckOptions, Plan


async def nothing(bench: Any) -> None: ...


def a_check(*needs: Need, when: Any = "once") -> Check:
    return Check("one", "It holds.", nothing, when, frozenset(needs))


def a_plan(**options: Any) -> Plan:
    return Plan.of(Pairs(), options, ["one", "two"])  # type: ignore[arg-type]  # wrong names are the point


def test_defaults() -> None:
    plan = a_plan()
    assert list(plan.eras) == ["modern", "legacy"]
    assert plan.lacking == {"connect_stream": "no connect_stream was given"}
    assert (plan.channel.patience, plan.channel.injection_points, plan.channel.codec) == (5.0, 40, NewlineCodec)
    assert "limits" in plan.channel.abilities and "connect_stream" not in plan.channel.abilities


def test_every_switch_is_an_option() -> None:
    assert set(SWITCHES) <= set(CheckOptions.__annotations__)
    for name, need in SWITCHES.items():
        plan = a_plan(**{name: False})
        assert plan.why_not(a_check(need)) == f"{name}=False"
        assert plan.why_not(a_check()) is None
        assert need not in plan.channel.abilities
        assert a_plan(**{name: True}).why_not(a_check(need)) is None


def test_what_is_passed_on() -> None:
    def codec(size: int) -> NewlineCodec:
        return NewlineCodec(size)

    plan = a_plan(codec=codec, injection_points=3, patience=0.5, oversize="closes", connect_stream=nothing)
    channel = plan.channel
    assert (channel.codec, channel.injection_points, channel.patience) == (codec, 3, 0.5)
    assert channel.oversize == "closes" and channel.connect_stream is not None
    assert plan.lacking == {}


def test_eras() -> None:
    both, legacy = a_plan(), a_plan(eras=("legacy",))
    assert list(both.eras_of(a_check(when="each"))) == ["modern", "legacy"]
    assert list(both.eras_of(a_check(when="once"))) == ["modern"]
    assert list(legacy.eras_of(a_check(when="once"))) == ["legacy"]
    assert list(both.eras_of(a_check(when="legacy"))) == ["legacy"]
    assert legacy.why_not(a_check(when="modern")) == "the modern era is not among legacy"


def test_names() -> None:
    assert a_plan(without=["one"]).why_not(a_check()) == "named in without"
    assert a_plan(only=["two"]).why_not(a_check()) == "not named in only"
    assert a_plan(only=["one"]).why_not(a_check()) is None
    for wrong in ({"without": ["three"]}, {"only": ["three"]}, {"half_closed": False}):
        with pytest.raises(ValueError, match="no such"):
            a_plan(**wrong)
