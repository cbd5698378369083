"""Content-Length framing against the two implementations that most peers use: pygls, and vscode-jsonrpc on Node.

Both are more lenient than we are towards what is wrong, so they are asked about what is right: every header that we
accept and they read means the same payloads, and each side reads what the other one writes.
"""

from __future__ import annotations

import io
import json
import subprocess
import threading
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pygls.io_ import StdoutWriter, run
from pygls.protocol import JsonRPCProtocol, default_converter
from pygls.server import JsonRPCServer

from tests.interop.install_peers import FOLDER, node, peer_environment
from trio_mcp_transport.testing.codec_checks import CodecCase, outcome
from trio_mcp_transport.testing.strategies import chunkings, json_values, messages
from trio_mcp_transport.wire.content_length import ContentLengthCodec
from trio_mcp_transport.wire.messages import Message, encode
from trio_mcp_transport.wire.signals import Signal

PACKAGE = FOLDER / "node_modules" / "vscode-jsonrpc"
PROGRAM = Path(__file__).with_name("programs") / "jsonrpc_framing.mjs"
BOUND = 20.0
ROOM = 1024 * 1024

TYPE = b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\n"
FIELDS = (b"", TYPE, TYPE.replace(b"utf-8", b"utf8"), b"X-Unknown: 1\r\n", b"x-empty:\r\n")


class Listener:
    """What pygls' reader hands its messages to."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def structure_message(self, data: dict[str, Any]) -> dict[str, Any]:
        return data

    def handle_message(self, message: Any) -> None:
        self.messages.append(message)


def read_by_pygls(stream: bytes) -> list[Any]:
    """All messages that pygls reads from a stream; what it cannot handle is an error here."""
    listener = Listener()
    failures: list[Exception] = []
    run(
        threading.Event(),
        io.BytesIO(stream),
        listener,  # type: ignore[arg-type]
        error_handler=lambda error, _: failures.append(error),
    )
    assert failures == []
    return listener.messages


def written_by_pygls(values: list[Any]) -> bytes:
    """The frames that pygls makes of values, its own header fields included."""
    protocol = JsonRPCProtocol(JsonRPCServer(JsonRPCProtocol, default_converter), default_converter())
    wire = io.BytesIO()
    protocol.set_writer(StdoutWriter(wire))
    for value in values:
        protocol._send_data(value)
    return wire.getvalue()


def read_by_us(stream: bytes, chunks: list[bytes] | None = None) -> list[Any]:
    *frames, last = outcome(CodecCase(ContentLengthCodec, ROOM), [stream] if chunks is None else chunks)
    assert last is Signal.END_OF_STREAM
    return [json.loads(frame) for frame in frames if isinstance(frame, bytes)]


@given(st.lists(messages(), max_size=5))
def test_pygls_reads_what_we_write(drawn: list[Message]) -> None:
    texts = list(map(encode, drawn))
    assert read_by_pygls(b"".join(map(ContentLengthCodec().encode, texts))) == list(map(json.loads, texts))


@given(st.lists(json_values().map(lambda value: {"value": value}), min_size=1, max_size=5), st.data())
def test_we_read_what_pygls_writes(values: list[Any], data: st.DataObject) -> None:
    stream = written_by_pygls(values)
    assert TYPE in stream
    assert read_by_us(stream, data.draw(chunkings(stream))) == values


@given(st.lists(st.tuples(messages().map(encode), st.sampled_from(FIELDS), st.sampled_from(FIELDS)), max_size=5))
def test_header_variations_mean_the_same_to_pygls_and_to_us(drawn: list[tuple[bytes, bytes, bytes]]) -> None:
    stream = b""
    for text, before, behind in drawn:
        # Two fields of one name are refused here and read there; that is the difference that is wanted.
        behind = b"" if before.startswith(b"Content-Type") and behind.startswith(b"Content-Type") else behind
        stream += before + b"Content-Length: %d\r\n" % len(text) + behind + b"\r\n" + text
    expected = [json.loads(text) for text, _, _ in drawn]
    assert read_by_pygls(stream) == expected
    assert read_by_us(stream) == expected


def test_vscode_jsonrpc_reads_ours_and_we_read_its_frames(home: Path) -> None:
    values: list[Any] = [
        {"jsonrpc": "2.0", "id": number, "method": "x", "params": {"text": text}}
        for number, text in enumerate(
            ["", "h\u00e9 \U0001f40d", "\u2028\r\n\r\n", "Content-Length: 5\r\n\r\n", "p" * 300_000]
        )
    ]
    texts = [json.dumps(value, ensure_ascii=False).encode() for value in values]
    plain = b"".join(map(ContentLengthCodec().encode, texts))
    varied = b"".join(
        (b"content-length:%d \r\n" % len(text)).join((FIELDS[place], FIELDS[-1 - place])) + b"\r\n" + text
        if not (b"Type" in FIELDS[place] and b"Type" in FIELDS[-1 - place])
        else b"X: y\r\nCONTENT-LENGTH: \t%d\r\n\r\n" % len(text) + text
        for place, text in enumerate(texts)
    )
    assert read_by_us(varied) == values
    done = subprocess.run(
        [node(), str(PROGRAM), str(PACKAGE)],
        cwd=home,
        env=peer_environment(),
        input=plain + varied,
        capture_output=True,
        timeout=BOUND,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert read_by_us(done.stdout) == values * 2
