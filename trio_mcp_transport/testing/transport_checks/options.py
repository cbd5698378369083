"""What a caller of `check_transport` may say about a channel, and which checks that leaves.

Must never run a check.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, TypedDict, get_args

import attrs

from ...abc import FrameCodec
from .bench import Channel, CheckedEra, ConnectStream, MakePair
from .check import Check, Need
from .served import RemoteServer

__all__ = ["CheckOptions", "Plan"]

PATIENCE = 5.0
"""Seconds after which what should have happened long ago has not, also on a busy machine."""

SWITCHES: Mapping[str, Need] = {
    "several_clients": "several_clients",
    "server_messages": "server_messages",
    "limits": "limits",
    "large_messages": "large_messages",
    "back_pressure": "pressure",
    "half_close": "half_close",
    "write_deadline": "write_deadline",
    "statistics": "own_statistics",
}
"""Options -> what they say the channel can do."""


class CheckOptions(TypedDict, total=False):
    """The options of `check_transport`; everything a channel can do is on unless it is switched off.

    Attributes:
        eras: What the transport carries, both unless given; checks that do not depend on the era run in the first.
        connect_stream: Opens a stream to the server, ready for frames of ``codec``.  Checks with misbehaving streams,
            raw frames and half-close need it.
        codec: Makes that stream's codec, for a largest message in bytes; newline-delimited unless given.
        several_clients: Whether one server serves more than one client.
        server_messages: Whether a legacy server's own requests and notifications pass.
        limits: Whether message sizes in bytes are limited.
        large_messages: Whether messages of 3 MB pass.
        back_pressure: Whether a slow server slows its clients.
        half_close: Whether a client can end its side of writing and go on reading.
        write_deadline: Whether a peer that reads nothing is given up.
        statistics: Whether the transports count.
        oversize: What becomes of a connection that got a message over its limit; either unless given.
        without: Names of checks to leave out; the report says so.
        only: Names of the only checks to run; all, if empty.
        patience: Seconds one step of a check may take; 5 unless given.
        injection_points: Most moments at which a client is cancelled, or a stream call fails, per scenario; 40 unless
            given.
    """

    eras: Sequence[CheckedEra]
    connect_stream: ConnectStream | None
    codec: Callable[[int], FrameCodec]
    several_clients: bool
    server_messages: bool
    limits: bool
    large_messages: bool
    back_pressure: bool
    half_close: bool
    write_deadline: bool
    statistics: bool
    oversize: Literal["goes on", "closes"] | None
    without: Collection[str]
    only: Collection[str]
    patience: float
    injection_points: int


@attrs.frozen
class Plan:
    """What to check of which channel.

    Attributes:
        channel: The transport under check.
        eras: What it carries.
        lacking: What it cannot do, and who says so.
        without: Names of checks to leave out.
        only: Names of the only checks to run, if any.
    """

    channel: Channel
    eras: Sequence[CheckedEra]
    lacking: Mapping[Need, str]
    without: Collection[str]
    only: Collection[str]

    @classmethod
    def of(cls, make_pair: MakePair, options: CheckOptions, known: Collection[str]) -> Plan:
        """Return the plan that some options make.

        Args:
            make_pair: As for `check_transport`.
            options: As for `check_transport`.
            known: The names of all checks.

        Raises:
            ValueError: An option, or a check that one names, does not exist.
        """
        if wrong := sorted(options.keys() - CheckOptions.__annotations__.keys()):
            raise ValueError(f"no such options: {', '.join(wrong)}")
        without, only = options.get("without", ()), options.get("only", ())
        if wrong := sorted({*without, *only} - set(known)):
            raise ValueError(f"no such checks: {', '.join(wrong)}")
        lacking: dict[Need, str] = {
            need: f"{name}=False" for name, need in SWITCHES.items() if not options.get(name, True)
        }
        if options.get("connect_stream") is None:
            lacking["connect_stream"] = "no connect_stream was given"
        if isinstance(make_pair()[0], RemoteServer):
            lacking["in_process"] = lacking["own_statistics"] = "the server runs in another process"
        passed_on: dict[str, Any] = {name: options[name] for name in ("codec", "injection_points") if name in options}
        channel = Channel(
            make_pair=make_pair,
            patience=options.get("patience", PATIENCE),
            connect_stream=options.get("connect_stream"),
            oversize=options.get("oversize"),
            abilities=frozenset(get_args(Need)) - lacking.keys(),
            **passed_on,
        )
        return cls(channel, options.get("eras", ("modern", "legacy")), lacking, without, only)

    def eras_of(self, check: Check) -> Sequence[CheckedEra]:
        """Return the eras in which a check runs."""
        if check.when == "each":
            return self.eras
        return self.eras[:1] if check.when == "once" else [era for era in self.eras if era == check.when]

    def why_not(self, check: Check) -> str | None:
        """Return why a check does not run, or None."""
        if check.name in self.without:
            return "named in without"
        if self.only and check.name not in self.only:
            return "not named in only"
        for need in sorted(check.needs):
            if need in self.lacking:
                return self.lacking[need]
        return None if self.eras_of(check) else f"the {check.when} era is not among {', '.join(self.eras)}"
