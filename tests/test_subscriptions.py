"""What a host publishes and who gets it: filters, bounds, and the policy of a full buffer."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from trio_mcp_transport import RpcError, Subscriptions
from trio_mcp_transport.context import ConnectionInfo, MessageContext
from trio_mcp_transport.errors import ConfigError, LocalProtocolError
from trio_mcp_transport.exchange import LISTEN
from trio_mcp_transport.subscriptions import Policy
from trio_mcp_transport.wire.envelope import Envelope
from trio_mcp_transport.wire.messages import Notification, Request

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
TOOLS, PROMPTS = "notifications/tools/list_changed", "notifications/prompts/list_changed"
RESOURCES, UPDATED = "notifications/resources/list_changed", "notifications/resources/updated"
EVERYTHING = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}


class Context(MessageContext):
    """Keeps what is sent; sends nothing while its gate is closed."""

    def __init__(self) -> None:
        super().__init__(ConnectionInfo(transport="t", connection_id="t-1"), Envelope())
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.gate = trio.Event()
        self.gate.set()

    async def notify(self, method: str, params: Any = None) -> None:
        await self.gate.wait()
        self.sent.append((method, params))


async def listen(
    subscriptions: Subscriptions, nursery: trio.Nursery, filter_: Any, id_: Any = 1, *, open_: bool = True
) -> tuple[Context, list[Any]]:
    context, results = Context(), list[Any]()

    async def run() -> None:
        results.append(await subscriptions.serve_listen(Request(id_, LISTEN, {"notifications": filter_}), context))

    nursery.start_soon(run)
    await trio.testing.wait_all_tasks_blocked()
    if not open_:
        context.gate = trio.Event()
    return context, results


def methods(context: Context) -> list[str]:
    return [method for method, _ in context.sent[1:]]


async def test_only_what_was_asked_for_arrives_tagged_and_after_the_acknowledgement() -> None:
    subscriptions = Subscriptions()
    async with trio.open_nursery() as nursery:
        filter_ = {"promptsListChanged": True, "toolsListChanged": False, "resourceSubscriptions": ["file:///a"]}
        context, _ = await listen(subscriptions, nursery, filter_, "id")
        for method in (TOOLS, PROMPTS, RESOURCES):
            subscriptions.publish(method, {"_meta": {"own": 1}, "x": 2})
        for uri in ("file:///a", "file:///b"):
            subscriptions.publish(UPDATED, {"uri": uri})
        await trio.testing.wait_all_tasks_blocked()
        assert context.sent[0] == (
            "notifications/subscriptions/acknowledged",
            {
                "_meta": {SUBSCRIPTION: "id"},
                "notifications": {"promptsListChanged": True, "resourceSubscriptions": ["file:///a"]},
            },
        )
        assert context.sent[1:] == [
            (PROMPTS, {"_meta": {"own": 1, SUBSCRIPTION: "id"}, "x": 2}),
            (UPDATED, {"uri": "file:///a", "_meta": {SUBSCRIPTION: "id"}}),
        ]
        nursery.cancel_scope.cancel()


async def test_what_is_published_before_the_acknowledgement_could_leave_follows_it() -> None:
    subscriptions = Subscriptions()
    async with trio.open_nursery() as nursery:
        context = Context()
        context.gate = trio.Event()
        request = Request(1, LISTEN, {"notifications": EVERYTHING})
        nursery.start_soon(subscriptions.serve_listen, request, context)
        await trio.testing.wait_all_tasks_blocked()
        subscriptions.publish(TOOLS)
        context.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert [method for method, _ in context.sent] == ["notifications/subscriptions/acknowledged", TOOLS]
        nursery.cancel_scope.cancel()


async def test_what_a_server_does_not_support_is_left_out_and_extensions_can_be_added() -> None:
    subscriptions = Subscriptions(supported={"toolsListChanged": True, "promptsListChanged": False, "taskIds": True})
    async with trio.open_nursery() as nursery:
        context, _ = await listen(subscriptions, nursery, {**EVERYTHING, "taskIds": ["t"], "unknown": True})
        assert context.sent[0][1]["notifications"] == {"toolsListChanged": True, "taskIds": ["t"]}
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"notifications": None},
        {"notifications": []},
        {"notifications": {"resourceSubscriptions": "x"}},
        {"notifications": {"resourceSubscriptions": [1]}},
    ],
)
async def test_a_malformed_filter_is_refused_and_leaves_nothing(params: Any) -> None:
    subscriptions = Subscriptions()
    with pytest.raises(RpcError) as caught:
        await subscriptions.serve_listen(Request(1, LISTEN, params), Context())
    assert caught.value.code == -32602
    assert subscriptions.statistics().listens == 0


@pytest.mark.parametrize("policy", ["drop_oldest", "close", "block"])
async def test_a_full_buffer_acts_by_its_policy_at_its_exact_bound(policy: Policy) -> None:
    subscriptions = Subscriptions(buffer=3, policy=policy)
    async with trio.open_nursery() as nursery:
        slow, results = await listen(subscriptions, nursery, EVERYTHING, 1, open_=False)
        quick, _ = await listen(subscriptions, nursery, EVERYTHING, 2)
        # The first leaves the buffer and waits at the gate; three more fill it.
        for number in range(4):
            subscriptions.publish(TOOLS, {"n": number})
            await trio.testing.wait_all_tasks_blocked()
        assert (subscriptions.statistics().dropped, subscriptions.statistics().closed) == (0, 0)
        if policy == "block":
            with pytest.raises(trio.WouldBlock):
                subscriptions.publish(TOOLS, {"n": 4})
        else:
            subscriptions.publish(TOOLS, {"n": 4})
        await trio.testing.wait_all_tasks_blocked()
        assert len(methods(quick)) == (4 if policy == "block" else 5), "nobody else is held up"
        slow.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        numbers = [params["n"] for _, params in slow.sent[1:]]
        statistics = subscriptions.statistics()
        if policy == "drop_oldest":
            assert (numbers, statistics.dropped, results) == ([0, 2, 3, 4], 1, [])
        elif policy == "close":
            assert (numbers, statistics.closed) == ([0, 1, 2, 3], 1)
            assert results == [{"resultType": "complete", "_meta": {SUBSCRIPTION: 1}}]
            assert statistics.listens == 1
        else:
            assert (numbers, statistics.dropped, statistics.published) == ([0, 1, 2, 3], 0, 4)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("policy", "waits"), [("block", True), ("drop_oldest", False)])
async def test_send_waits_for_room_only_where_that_is_the_policy(policy: Policy, waits: bool) -> None:
    subscriptions = Subscriptions(buffer=1, policy=policy)
    async with trio.open_nursery() as nursery:
        slow, _ = await listen(subscriptions, nursery, EVERYTHING, open_=False)
        for _ in range(2):
            subscriptions.publish(TOOLS)
            await trio.testing.wait_all_tasks_blocked()
        with trio.testing.assert_checkpoints():
            await subscriptions.send(UPDATED, {"uri": "nobody wants it"})
        sent = trio.Event()

        async def send() -> None:
            await subscriptions.send(PROMPTS)
            sent.set()

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert sent.is_set() is not waits
        slow.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert sent.is_set()
        assert methods(slow)[-1] == PROMPTS
        nursery.cancel_scope.cancel()


async def test_who_waits_for_a_listen_that_leaves_goes_on() -> None:
    subscriptions = Subscriptions(buffer=1, policy="block")
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as listening:
            await listen(subscriptions, listening, EVERYTHING, open_=False)
            for _ in range(2):
                subscriptions.publish(TOOLS)
                await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(subscriptions.send, PROMPTS)
            await trio.testing.wait_all_tasks_blocked()
            listening.cancel_scope.cancel()
    assert subscriptions.statistics().published == 3
    assert subscriptions.statistics().listens == 0


async def test_legacy_connections_get_list_changes_and_the_updates_they_subscribed_to() -> None:
    subscriptions = Subscriptions()
    pushed: list[Notification] = []
    subscriber = subscriptions.attach_legacy(pushed.append)
    subscriber.uris.add("file:///a")
    subscriptions.publish(TOOLS)
    for uri in ("file:///a", "file:///b"):
        subscriptions.publish(UPDATED, {"uri": uri})
    assert [(note.method, note.params) for note in pushed] == [(TOOLS, {}), (UPDATED, {"uri": "file:///a"})]
    assert subscriptions.statistics().legacy == 1
    subscriptions.detach_legacy(subscriber)
    subscriptions.detach_legacy(subscriber)
    subscriptions.publish(TOOLS)
    assert len(pushed) == 2
    assert subscriptions.statistics().legacy == 0


def test_a_buffer_holds_something() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        Subscriptions(buffer=0)


@pytest.mark.parametrize("params", [{"a": float("nan")}, {"a": object()}, {"_meta": {"not a key!": 1}}])
async def test_what_cannot_be_sent_is_the_publishers_error_and_ends_no_subscription(params: Any) -> None:
    subscriptions = Subscriptions()
    async with trio.open_nursery() as nursery:
        context, _ = await listen(subscriptions, nursery, EVERYTHING)
        with pytest.raises(LocalProtocolError):
            subscriptions.publish(TOOLS, params)
        subscriptions.publish(PROMPTS)
        await trio.testing.wait_all_tasks_blocked()
        assert methods(context) == [PROMPTS]
        assert subscriptions.statistics().published == 1
        nursery.cancel_scope.cancel()


async def test_what_the_publisher_changes_later_is_not_sent() -> None:
    subscriptions = Subscriptions()
    async with trio.open_nursery() as nursery:
        context, _ = await listen(subscriptions, nursery, EVERYTHING, open_=False)
        params: dict[str, Any] = {"list": [1]}
        subscriptions.publish(TOOLS, params)
        params["list"].append(2)
        context.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert context.sent[1][1]["list"] == [1]
        nursery.cancel_scope.cancel()
