"""Which request an unreadable frame answers: only what is a response beyond doubt, ids by exact type."""

from __future__ import annotations

import pytest

from trio_mcp_transport.wire.salvage import answered_by, answered_by_beginning

BEYOND = [b"1e400", b"[" * 200 + b"]" * 200, b'"\xff"']


@pytest.mark.parametrize("text", BEYOND)
@pytest.mark.parametrize(("written", "id_"), [(b"7", 7), (b'"7"', "7"), (b"1" * 25, int("1" * 25))])
def test_a_whole_response_names_its_request_wherever_the_id_stands(text: bytes, written: bytes, id_: int | str) -> None:
    for frame in (b'{"id":%s,"result":{"a":%s}}' % (written, text), b'{"error":{"a":%s},"id":%s}' % (text, written)):
        found = answered_by(frame)
        assert found == id_
        assert type(found) is type(id_)


@pytest.mark.parametrize(
    "frame",
    [
        b'{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":1e400}}',
        b'{"jsonrpc":"2.0","id":7,"method":"m","result":{"a":1e400}}',
        b'{"jsonrpc":"2.0","id":7.5,"result":{"a":1e400}}',
        b'{"jsonrpc":"2.0","id":null,"result":{"a":1e400}}',
        b'{"jsonrpc":"2.0","id":7,"x":1e400}',
        b'{"jsonrpc":"2.0","id":7,"result":{',
        b"[" * 100_000,
        b"\xff",
        b"",
    ],
)
def test_nothing_else_names_anybody(frame: bytes) -> None:
    assert answered_by(frame) is None


@pytest.mark.parametrize(("written", "id_"), [(b"7", 7), (b'"7"', "7"), (b"-1", -1)])
def test_the_beginning_of_a_response_is_enough_where_the_id_comes_first(written: bytes, id_: int | str) -> None:
    for beginning in (b'{"jsonrpc":"2.0","id":%s,"result":{"a":"' % written, b' { "id" : %s , "error" : {' % written):
        found = answered_by_beginning(beginning)
        assert found == id_
        assert type(found) is type(id_)


@pytest.mark.parametrize(
    "beginning",
    [
        b'{"jsonrpc":"2.0","id":7,"method":"m","params":{"id":8,"result":1',
        b'{"jsonrpc":"2.0","result":{"id":7,"result":1',
        b'{"id":7.5,"result":',
        b'{"id":"a\\"b","result":',
        b'{"id":7,"resul',
        b"x" * 1024,
        b"",
    ],
)
def test_no_other_beginning_names_anybody(beginning: bytes) -> None:
    assert answered_by_beginning(beginning) is None
