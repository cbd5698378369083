"""`connect` puts a handler and a client into one process, in both eras, with bytes and without."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport import (
    ClientInfo,
    ConfigError,
    ConnectionClosed,
    Deadlines,
    EraPolicy,
    Handlers,
    Limits,
    MessageTooLarge,
    NewlineCodec,
    RpcError,
    ServerInfo,
    Subscriptions,
    UnsupportedRevision,
    open_client,
)
from trio_mcp_transport.testing import byte_stream_pair, connect
from trio_mcp_transport.testing.footprint import living_tasks

WAYS = pytest.mark.parametrize("way", ["objects", "bytes"])
ERAS = pytest.mark.parametrize("era", ["auto", "modern", "legacy"])


async def echo(message: Any, context: Any) -> Any:
    return {"method": message.method, "text": message.params.get("text"), "era": context.envelope.modern}


@WAYS
@ERAS
async def test_a_request_gets_its_answer(way: str, era: Any, autojump_clock: trio.testing.MockClock) -> None:
    async with connect(Handlers(echo), era=era, bytes=way == "bytes") as client:
        result = await client.request("say", {"text": "hi"})
        assert (result["method"], result["text"]) == ("say", "hi")
        assert result["era"] is (era != "legacy")
        assert client.era == ("legacy" if era == "legacy" else "modern")


@WAYS
async def test_a_deadline_of_minutes_passes_at_once(way: str, autojump_clock: trio.testing.MockClock) -> None:
    async def never(message: Any, context: Any) -> None:
        await trio.sleep_forever()

    async with connect(Handlers(never), bytes=way == "bytes") as client:
        with trio.move_on_after(500) as scope:
            await client.request("wait")
        assert scope.cancelled_caught


@WAYS
async def test_leaving_ends_both_sides(way: str, autojump_clock: trio.testing.MockClock) -> None:
    before = set(living_tasks())
    closed: list[bool] = []
    handler = Handlers(echo, close=lambda context: closed.append(True))
    block = connect(handler, bytes=way == "bytes")
    async with block as client:
        await client.request("say")
        assert set(living_tasks()) > before
    assert set(living_tasks()) == before
    assert closed == [True]
    assert block.shutdown.is_set()


@WAYS
async def test_the_exception_of_the_body_leaves_unwrapped_and_cancels_the_server(
    way: str, autojump_clock: trio.testing.MockClock
) -> None:
    ended: list[float] = []

    async def stubborn(message: Any, context: Any) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    started = trio.current_time()

    async def fail() -> None:
        async with connect(Handlers(notification=stubborn), bytes=way == "bytes") as client:
            await client.notify("notifications/job")
            await trio.testing.wait_all_tasks_blocked()
            raise KeyError("body")

    with pytest.raises(KeyError, match="body"):
        await fail()
    assert ended == [started]


async def test_leaving_lets_the_server_drain(autojump_clock: trio.testing.MockClock) -> None:
    ended: list[str] = []

    async def job(message: Any, context: Any) -> None:
        await trio.sleep(3)
        ended.append(message.method)

    async with connect(Handlers(notification=job)) as client:
        await client.notify("notifications/job")
    assert ended == ["notifications/job"]


@WAYS
async def test_with_a_nursery_the_block_may_be_left_in_any_task(
    way: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        before = set(living_tasks())
        block = connect(Handlers(echo), nursery=nursery, bytes=way == "bytes")
        client = await block.__aenter__()
        assert (await client.request("say"))["method"] == "say"

        async def leave() -> None:
            await block.__aexit__(None, None, None)

        async with trio.open_nursery() as other:
            other.start_soon(leave)
        assert set(living_tasks()) == before


async def test_options_reach_the_server(autojump_clock: trio.testing.MockClock) -> None:
    info = ServerInfo("mine", "7", instructions="read me")
    async with connect(Handlers(echo), server_info=info, eras=EraPolicy(legacy=False)) as client:
        assert client.server_info == {"name": "mine", "version": "7"}
        assert client.instructions == "read me"
    with pytest.raises((UnsupportedRevision, RpcError)):
        async with connect(Handlers(echo), era="legacy", eras=EraPolicy(legacy=False)):
            pass


async def test_subscriptions_reach_the_server(autojump_clock: trio.testing.MockClock) -> None:
    subscriptions = Subscriptions()
    async with connect(Handlers(echo), subscriptions=subscriptions) as client:
        params = {"notifications": {"toolsListChanged": True}}
        async with client.open_exchange("subscriptions/listen", params) as replies:
            await replies.receive()
            subscriptions.publish("notifications/tools/list_changed")
            assert (await replies.receive()).method == "notifications/tools/list_changed"  # type: ignore[union-attr]


async def test_options_reach_the_client(autojump_clock: trio.testing.MockClock) -> None:
    asked: list[str] = []

    async def ask(message: Any, context: Any) -> Any:
        return await context.request("roots/list")

    async def answer(message: Any, context: Any) -> Any:
        asked.append(message.method)
        return {"roots": []}

    names: list[Any] = []

    async def name(message: Any, context: Any) -> None:
        names.append(context.client_info)

    async with connect(Handlers(ask), era="legacy", client_handler=Handlers(answer)) as client:
        assert (await client.request("ask"))["roots"] == []
    assert asked == ["roots/list"]
    async with connect(Handlers(name), client_info=ClientInfo("mine", "3")) as client:
        await client.request("who")
    assert names == [{"name": "mine", "version": "3"}]


async def test_deadlines_and_limits_reach_the_client(autojump_clock: trio.testing.MockClock) -> None:
    limits = Limits(max_outgoing_size=2000)
    async with connect(
        Handlers(echo), bytes=True, client_limits=limits, deadlines=Deadlines(total=7), discover=False, era="modern"
    ) as client:
        assert client.deadlines.total == 7
        with pytest.raises(MessageTooLarge):
            await client.request("say", {"text": "x" * 2000})


async def test_limits_reach_the_server(autojump_clock: trio.testing.MockClock) -> None:
    errors: list[Any] = []
    handler = Handlers(echo, error=lambda error, context: errors.append(error))
    async with connect(handler, bytes=True, limits=Limits(max_message_size=2000)) as client:
        with trio.move_on_after(1):  # the refusal names no request: the line was never read
            await client.request("say", {"text": "x" * 4000})
        assert (await client.request("say"))["method"] == "say"
    assert ["2000" in str(error) for error in errors] == [True]


async def test_codec_and_streams_imply_bytes(autojump_clock: trio.testing.MockClock) -> None:
    sizes: list[int] = []
    pairs: list[Any] = []

    def codec(size: int) -> NewlineCodec:
        sizes.append(size)
        return NewlineCodec(size)

    def streams() -> Any:
        pairs.append(byte_stream_pair(64))
        return pairs[-1]

    async with connect(Handlers(echo), codec=codec, streams=streams) as client:
        assert (await client.request("say", {"text": "x" * 1000}))["text"] == "x" * 1000
    assert len(sizes) == 2 and len(pairs) == 1


async def test_shutdown_is_the_callers_when_given(autojump_clock: trio.testing.MockClock) -> None:
    shutdown = trio.Event()
    async with connect(Handlers(echo), shutdown=shutdown) as client:
        shutdown.set()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ConnectionClosed):
            await client.request("say")


async def test_the_failure_of_the_server_is_raised_at_once(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(ConfigError, match="drain"):
        async with connect(Handlers(echo), drain=-1):
            pass
    assert trio.current_time() == 0


async def test_a_second_client_reaches_the_same_server(autojump_clock: trio.testing.MockClock) -> None:
    block = connect(Handlers(echo))
    async with block as client, open_client(block.client_transport, era="legacy") as other:
        assert (await client.request("say"))["era"] is True
        assert (await other.request("say"))["era"] is False
