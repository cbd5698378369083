"""Framings by name."""

from __future__ import annotations

from typing import Any

import pytest

from trio_mcp_transport.errors import ConfigError, FrameTooLarge
from trio_mcp_transport.transports.framings import FRAMINGS, codec_factory, framing_suffix


def test_each_name_makes_its_codec_with_the_limit() -> None:
    wires = {
        "newline": b"12345\n",
        "content-length": b"Content-Length: 5\r\n\r\n12345",
        "length-prefix": b"\0\0\0\x0512345",
    }
    assert set(wires) == set(FRAMINGS)
    for name, wire in wires.items():
        at_limit = codec_factory(name)(5)
        at_limit.feed(wire)
        assert at_limit.next_frame() == b"12345"
        assert at_limit.encode(b"12345").lower() == wire.lower()
        below = codec_factory(name)(4)
        below.feed(wire)
        with pytest.raises(FrameTooLarge):
            below.next_frame()


@pytest.mark.parametrize("name", ["", "Newline", "http", None, 5, ["newline"]])
def test_any_other_name_is_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="newline, content-length, length-prefix"):
        codec_factory(name)


def test_the_default_is_not_part_of_an_address() -> None:
    assert framing_suffix("newline") == ""
    assert framing_suffix("length-prefix") == "?framing=length-prefix"
