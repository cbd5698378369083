"""Checks that every kind of message arrives, once, as it was sent.

Must never depend on the order of messages that belong to different requests.
"""

from __future__ import annotations

from typing import Any

from ...context import MessageContext
from ...errors import RpcError
from ...handlers import Handlers
from ...wire.messages import Notification, Request
from .bench import Bench
from .check import check

__all__ = ["errors_arrive", "notifications_arrive", "requests_arrive", "server_messages_arrive"]


@check(when="each")
async def requests_arrive(bench: Bench) -> None:
    """A request reaches the handler once, with its params, and its result comes back."""
    served = await bench.serve()
    async with bench.connect(served) as client:
        params = {"key": "one", "list": [1, None, True, 1.5, "x"], "object": {"empty": {}}, "text": ""}
        bench.equal((await bench.ask(client, "check/echo", **params)).get("echo"), params, "the params, echoed")
        bench.equal((await bench.ask(client, "check/echo")).get("echo"), {}, "no params, echoed")
        with bench.within("an answer to a request whose handler returns nothing"):
            await client.request("check/silence")
        await bench.assert_alive(client, "a few requests")
        began = served.journal.select("began", key="one")
        bench.equal(len(began), 1, "the number of times a request reached the handler")


@check(when="each")
async def notifications_arrive(bench: Bench) -> None:
    """Each notification of the client reaches the handler, once."""
    served = await bench.serve()
    async with bench.connect(served) as client:
        with bench.within("ten notifications that can be sent"):
            for number in range(10):
                await client.notify("notifications/check/echo", {"key": f"n{number}"})
        await bench.assert_alive(client, "ten notifications")
        with bench.within("ten notifications that reach the handler"):
            await served.journal.wait("ended", method="notifications/check/echo", count=10)
        await bench.assert_alive(client, "ten notifications")
        keys = sorted(event.key for event in served.journal.select("began", method="notifications/check/echo"))
        bench.equal(keys, [f"n{number}" for number in range(10)], "the notifications that reached the handler")


@check(when="each")
async def errors_arrive(bench: Bench) -> None:
    """What a handler raises is the answer to its request alone: code, message and data, or -32603."""
    served = await bench.serve()
    async with bench.connect(served) as client:
        failing = bench.start(client, "check/fail", how="rpc", code=7, message="no", data={"why": ["x"]})
        crashing = bench.start(client, "check/fail", how="crash")
        grouped = bench.start(client, "check/fail", how="group")
        fine = bench.start(client, "check/echo", key="fine")
        with bench.within("an answer to each of four requests, three of whose handlers raise"):
            for pending in (failing, crashing, grouped, fine):
                await pending.done.wait()
        bench.raised(failing.error, RpcError, "the RpcError the handler raised")
        found = (getattr(failing.error, name, None) for name in ("code", "message", "data"))
        bench.equal(tuple(found), (7, "no", {"why": ["x"]}), "the error of the handler")
        for pending in (crashing, grouped):
            bench.equal(getattr(pending.error, "code", None), -32603, "the code for a handler that crashed")
        bench.equal((fine.result or {}).get("echo"), {"key": "fine"}, "the answer beside three failures")
        await bench.assert_alive(client, "handlers that raised")


@check("server_messages", when="legacy")
async def server_messages_arrive(bench: Bench) -> None:
    """The server's requests reach the client and are answered, its notifications arrive, each once."""
    told: list[Any] = []

    async def answer(request: Request, context: MessageContext) -> Any:
        if request.method == "check/refuse":
            raise RpcError(9, "not today", [1])
        return {"params": request.params}

    async def note(notification: Notification, context: MessageContext) -> None:
        told.append((notification.method, notification.params))

    served = await bench.serve()
    async with bench.connect(served, handler=Handlers(answer, note)) as client:
        reply = await bench.ask(client, "check/ask", method="check/question", params={"text": "ok?"})
        bench.equal(reply.get("answer"), {"params": {"text": "ok?"}}, "the client's answer to the server")
        refused = bench.start(client, "check/ask", method="check/refuse", params={})
        with bench.within("the client's refusal to reach the server, and its handler's error the client"):
            await refused.done.wait()
        bench.equal(getattr(refused.error, "code", None), 9, "the code the client refused with")
        for number in range(5):
            params = {"number": number}
            await bench.ask(client, "check/tell", method="notifications/check/news", params=params)
        await bench.assert_alive(client, "five notifications of the server")
        wanted = [("notifications/check/news", {"number": number}) for number in range(5)]
        bench.equal(told, wanted, "the server's notifications")
