"""How many examples are drawn, and of what; that wrong codecs fail on them is in `test_check_codec`."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.testing.toy_codec import ToyCodec
from trio_mcp_transport.testing.codec_examples import run_checks

SEEN: list[tuple[int, bytes]] = []


class Recorded(ToyCodec):
    """Notes what it is asked to encode."""

    def encode(self, payload: bytes) -> bytes:
        SEEN.append((self.limit, payload))
        return super().encode(payload)


def run(**changes: Any) -> list[tuple[int, bytes]]:
    SEEN.clear()
    options: dict[str, Any] = {"peer": Recorded, "payloads": None, "payload_of": b"p".__mul__, "near_misses": None}
    run_checks(Recorded, **{**options, "limits": [7], "max_examples": 20, **changes})
    return SEEN


def test_the_number_of_examples() -> None:
    assert len(run(max_examples=5)) < len(run(max_examples=60))


def test_every_limit_is_checked() -> None:
    room = {2 * limit + 64 for limit in (3, 5)}
    assert room < {limit for limit, _ in run(limits=[3, 5])}


def test_payloads_are_within_the_limit_and_the_callers() -> None:
    drawn = run(payloads=lambda limit: st.sampled_from([b"abc", b"abcdefgh"]))
    kept = {payload for limit, payload in drawn if limit == 2 * 7 + 64 and not payload.startswith(b"p")}
    assert kept == {b"abc", b"abcdefgh"}  # the one over the limit only among the streams that may be refused


def test_messages_are_among_them() -> None:
    assert any(b'"jsonrpc"' in payload for _, payload in run())
