"""`MockTransport` plays either side, or is a plain pair of send and receive."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport import (
    ConnectionClosed,
    ConnectionFailed,
    DeadlineExceeded,
    Deadlines,
    Handlers,
    LocalProtocolError,
    Notification,
    Request,
    Response,
    RpcError,
    open_client,
    serve,
)
from trio_mcp_transport.testing import Footprint, MockTransport, Reply
from trio_mcp_transport.testing.mock_script import progress
from trio_mcp_transport.wire import messages

ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])


# A server for a client.


@ERAS
async def test_a_client_is_answered_by_method_and_in_order(era: Any) -> None:
    mock = MockTransport(era=era)
    mock.on("tools/call", {"content": [1]}, RpcError(7, "no", ["why"]))
    mock.add_response({"first": True})
    mock.add_response(Response(99, {"second": True}))
    async with open_client(mock) as client:
        assert client.era == era
        assert (await client.request("tools/list"))["first"] is True
        assert (await client.request("tools/call", {"name": "x"}))["content"] == [1]
        with pytest.raises(RpcError, match="no") as caught:
            await client.request("tools/call", {"name": "y"})
        assert (caught.value.code, caught.value.data) == (7, ["why"])
        assert (await client.request("prompts/list"))["second"] is True
    mock.assert_all_used()
    mock.assert_sent("tools/call", {"name": "y"}, times=1)
    assert [method for method in mock.sent_methods if "/" in method and "tools" in method] == [
        "tools/list",
        "tools/call",
        "tools/call",
    ]


async def test_notifications_come_before_the_answer_and_delays_pass_on_trios_clock(
    autojump_clock: trio.testing.MockClock,
) -> None:
    mock = MockTransport()
    mock.on("work", Reply(result={"done": 1}, notifications=[progress(1, 2, "half"), progress(2)], delay=3600))
    seen: list[Any] = []
    async with open_client(mock, deadlines=Deadlines(total=None)) as client:
        began = trio.current_time()
        async with client.open_exchange("work") as replies:
            async for message in replies:
                seen.append(message.params["progress"] if isinstance(message, Notification) else message.result)
        assert seen == [1, 2, {"done": 1}]
        assert trio.current_time() - began == 3600


async def test_what_nobody_prepared_fails_with_its_name() -> None:
    mock = MockTransport()
    async with open_client(mock) as client:
        with pytest.raises(ConnectionFailed, match="no answer for tools/list"):
            await client.request("tools/list")
    with pytest.raises(AssertionError, match="without an answer: tools/list"):
        mock.assert_all_used()


async def test_a_silent_reply_leaves_the_client_to_its_deadline(autojump_clock: trio.testing.MockClock) -> None:
    mock = MockTransport()
    mock.on("slow", Reply(silent=True))
    async with open_client(mock, deadlines=Deadlines(total=5)) as client:
        with pytest.raises(DeadlineExceeded):
            await client.request("slow")
    mock.assert_cancelled("slow")


async def test_disconnects_before_and_after_an_answer(autojump_clock: trio.testing.MockClock) -> None:
    mock = MockTransport()
    mock.on("one", Reply(result={}, disconnect=True))
    async with open_client(mock) as client:
        await client.request("one")
        with pytest.raises(ConnectionFailed, match="disconnect"):
            await client.request("two")
    mock = MockTransport()
    mock.on("one", Reply(disconnect=True, delay=2))
    async with open_client(mock) as client:
        with pytest.raises(ConnectionFailed, match="disconnect"):
            await client.request("one")
        assert trio.current_time() == 2


async def test_an_end_without_an_answer_is_connection_closed() -> None:
    mock = MockTransport()
    mock.on("one", Reply(silent=True))
    async with open_client(mock) as client:
        async with trio.open_nursery() as nursery:

            async def end() -> None:
                await mock.wait_sent("one")
                mock.end()

            nursery.start_soon(end)
            with pytest.raises(ConnectionClosed):
                await client.request("one")


async def test_bytes_pass_as_they_are() -> None:
    errors: list[Any] = []
    mock = MockTransport()
    mock.on("one", b"{nonsense", always=True)
    async with open_client(mock, handler=Handlers(error=lambda error, context: errors.append(error))) as client:
        with trio.move_on_after(0.05):
            await client.request("one")
    assert len(errors) == 1


async def test_always_gives_the_last_answer_for_ever_and_functions_see_the_request() -> None:
    mock = MockTransport()
    mock.on("n", {"n": 1}, lambda request: {"n": request.params["n"]}, always=True)
    async with open_client(mock) as client:
        assert [(await client.request("n", {"n": n}))["n"] for n in (7, 8, 9)] == [1, 8, 9]
    mock.assert_all_used()


async def test_the_server_speaks_first_in_the_legacy_era() -> None:
    mock = MockTransport(era="legacy")

    async def answer(message: Any, context: Any) -> Any:
        return {"roots": [message.params["n"]]}

    async with open_client(mock, handler=Handlers(answer)):
        mock.push(Request("r", "roots/list", {"n": 3}))
        response = await mock.wait_response("r")
    assert response.result == {"roots": [3]}
    mock.assert_answered("r", {"roots": [3]})


async def test_the_script_may_shake_hands_itself() -> None:
    mock = MockTransport()
    mock.on("server/discover", RpcError(-32601, "what?"), RpcError(-32601, "what?"))
    mock.on("initialize", RpcError(-32600, "never"))
    with pytest.raises(RpcError, match="never"):
        async with open_client(mock):
            pass


# A client for a handler.


@ERAS
async def test_requests_are_played_at_a_handler(era: Any) -> None:
    mock = MockTransport(era=era)

    async def handle(message: Any, context: Any) -> Any:
        if message.method == "fail":
            raise RpcError(5, "failed")
        await context.progress(1)
        return {"text": message.params.get("text"), "era": "modern" if context.envelope.modern else "legacy"}

    async with trio.open_nursery() as nursery:
        assert await nursery.start(serve, Handlers(handle, lambda *_: None), mock) == ("mock:",)
        if era == "legacy":
            # The library answers the handshake only with a server_info.
            await mock.wait_response("handshake")
            mock.end()
            return
        assert (await mock.request("say", {"text": "hi"}))["text"] == "hi"
        with pytest.raises(RpcError, match="failed"):
            await mock.request("fail")
        id_ = mock.play("say", {"text": "again"}, id="mine")
        await mock.wait_response(id_)
        mock.assert_answered("mine", {"text": "again", "era": era})
        mock.end()


async def test_a_legacy_session_begins_by_itself() -> None:
    from trio_mcp_transport import ServerInfo

    mock = MockTransport(era="legacy")

    async def handle(message: Any, context: Any) -> Any:
        return {"asked": await context.request("roots/list")}

    mock.on("roots/list", {"roots": ["/"]})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(Handlers(handle), mock, server_info=ServerInfo("s", "1")))
        assert await mock.request("ask") == {"asked": {"roots": ["/"]}}
        mock.end()
    mock.assert_sent("roots/list")


async def test_a_played_request_is_cancelled_with_its_task(autojump_clock: trio.testing.MockClock) -> None:
    causes: list[Any] = []
    mock = MockTransport()

    async def handle(message: Any, context: Any) -> Any:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            causes.append(context.cancel_cause.value)
            raise

    async with trio.open_nursery() as nursery:
        await nursery.start(serve, Handlers(handle), mock)
        with trio.move_on_after(1):
            await mock.request("wait")
        mock.end()
    assert causes == ["peer"]


async def test_notifications_reach_the_handler_and_shutdown_ends_it() -> None:
    seen: list[Any] = []
    mock = MockTransport()
    shutdown = trio.Event()
    handler = Handlers(notification=lambda message, context: seen.append(message.params["n"]))
    before = Footprint.take()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(handler, mock, shutdown=shutdown))
        mock.notify("notifications/x", {"n": 1})
        await trio.testing.wait_all_tasks_blocked()
        shutdown.set()
    assert seen == [1]
    assert before.left_by(Footprint.take(), threads=False) == []


async def test_a_disconnect_is_the_handlers_error() -> None:
    errors: list[Any] = []
    mock = MockTransport()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, Handlers(error=lambda error, context: errors.append(error)), mock)
        mock.disconnect()
    assert [type(error) for error in errors] == [ConnectionFailed]


# A pair of send and receive.


async def test_the_origins_contract() -> None:
    mock = MockTransport()
    mock.add_response(b'{"jsonrpc":"2.0","id":1,"result":{}}')
    mock.add_response({"a": 1})
    await mock.send(messages.encode(Request(4, "ping")))
    assert await mock.receive() == b'{"jsonrpc":"2.0","id":1,"result":{}}'
    assert messages.decode(await mock.receive()).id == 4  # type: ignore[union-attr]
    assert mock.sent_bytes == [b'{"jsonrpc":"2.0","id":4,"method":"ping"}']
    mock.assert_sent("ping", times=1)
    with pytest.raises(LocalProtocolError, match="no response was added"):
        await mock.receive()
    await mock.close()
    with pytest.raises(ConnectionClosed):
        await mock.receive()
    with pytest.raises(ConnectionClosed):
        await mock.send(b"x")
    await mock.close()


async def test_a_pair_gives_all_that_a_reply_holds(autojump_clock: trio.testing.MockClock) -> None:
    mock = MockTransport()
    mock.add_response(Reply(silent=True))
    mock.add_response(Reply(result={"a": 1}, notifications=[Notification("n")], disconnect=True))
    mock.add_response(Request(1, "m"))
    assert await mock.receive() == messages.encode(Notification("n"))
    answer = messages.decode(await mock.receive())
    assert isinstance(answer, Response) and answer.result == {"a": 1}
    with pytest.raises(ConnectionFailed, match="told to disconnect"):
        await mock.receive()
    assert await mock.receive() == messages.encode(Request(1, "m"))


async def test_a_cancelled_receive_loses_no_response(autojump_clock: trio.testing.MockClock) -> None:
    mock = MockTransport()
    mock.add_response(Reply(raw=b"late", delay=2))
    with trio.move_on_after(1) as scope:
        await mock.receive()
    assert scope.cancelled_caught
    assert await mock.receive() == b"late"


async def test_a_closed_or_used_object_does_not_run() -> None:
    mock = MockTransport()
    await mock.close()
    with pytest.raises(ConnectionClosed):
        async with open_client(mock):
            pass
    mock = MockTransport()
    async with open_client(mock):
        pass
    with pytest.raises(LocalProtocolError, match="runs once"):
        await serve(Handlers(), mock)
