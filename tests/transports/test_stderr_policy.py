"""The end of what a child writes, and its lines, within bounds."""

from __future__ import annotations

import logging
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mcp_transport.errors import ConfigError
from trio_mcp_transport.transports.stderr_policy import StderrCollector, check_stderr_policy


def test_the_tail_is_the_last_twenty_lines_oldest_first() -> None:
    collector = StderrCollector()
    for number in range(100):
        collector.feed(b"line %d\r\n" % number)
    collector.feed(b"unfinished")
    assert collector.tail() == (*(f"line {number}" for number in range(81, 100)), "unfinished")


def test_the_tail_of_nothing_is_empty_and_blank_lines_count() -> None:
    collector = StderrCollector()
    assert collector.tail() == ()
    collector.feed(b"a\n\n")
    assert collector.tail() == ("a", "")


def test_a_tail_without_newlines_is_the_end_of_one_long_line() -> None:
    collector = StderrCollector()
    collector.feed(b"a" * 300_000 + b"b" * 999)
    assert collector.tail() == ("…a" + "b" * 999,)


def test_invalid_bytes_are_replaced() -> None:
    collector = StderrCollector()
    collector.feed(b"caf\xc3\xa9 \xff\n")
    assert collector.tail() == ("café \N{REPLACEMENT CHARACTER}",)


@pytest.mark.parametrize("newline", [b"\n", b""])
def test_memory_is_bounded_whatever_the_child_writes(newline: bytes) -> None:
    seen = 0

    def count(line: str) -> None:
        nonlocal seen
        seen += len(line)

    chunk = b"x" * 65530 + newline
    collector = StderrCollector(count)
    collector.feed(chunk)
    tracemalloc.start()
    try:
        for _ in range(400):
            collector.feed(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    collector.finish()
    assert seen == 401 * 65530
    assert peak < 512 * 1024


@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\x00", b"\n")), max_size=30))
def test_chunking_changes_neither_the_lines_nor_the_tail(chunks: list[bytes]) -> None:
    pieces: list[str] = []
    whole: list[str] = []
    one, other = StderrCollector(pieces.append), StderrCollector(whole.append)
    for chunk in chunks:
        one.feed(chunk)
    other.feed(b"".join(chunks))
    one.finish()
    other.finish()
    assert pieces == whole
    assert one.tail() == other.tail()
    assert whole == [
        line.removesuffix(b"\r").decode("utf-8", "replace")
        for line in b"".join(chunks).removesuffix(b"\n").split(b"\n")
        if b"".join(chunks)
    ]


def test_a_long_line_is_handed_on_in_pieces() -> None:
    lines: list[str] = []
    collector = StderrCollector(lines.append)
    for _ in range(3):
        collector.feed(b"y" * 5000)
    assert lines == ["y" * 8192]
    collector.feed(b"z\nnext\n")
    assert [len(line) for line in lines] == [8192, 15001 - 8192, 4]


def test_a_callback_that_raises_is_logged_once_and_called_again(caplog: pytest.LogCaptureFixture) -> None:
    lines = []

    def fail(line: str) -> None:
        lines.append(line)
        raise RuntimeError(line)

    collector = StderrCollector(fail)
    with caplog.at_level(logging.ERROR):
        collector.feed(b"a\nb\nc\n")
    assert lines == ["a", "b", "c"]
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info is not None
    assert collector.tail() == ("a", "b", "c")


def test_a_keyboard_interrupt_in_a_callback_is_not_swallowed() -> None:
    def interrupted(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        StderrCollector(interrupted).feed(b"a\n")


async def an_async_function(line: str) -> None:
    pass


@pytest.mark.parametrize("bad", ["inherited", "", None, 2, an_async_function])
def test_what_is_no_policy_is_a_configuration_error(bad: Any) -> None:
    with pytest.raises(ConfigError):
        check_stderr_policy(bad)


@pytest.mark.parametrize("good", ["inherit", "devnull", "capture", print])
def test_what_is_a_policy_passes(good: Any) -> None:
    check_stderr_policy(good)
