"""User problem 4: a client opened in one task and used from fifty may be closed by another, by GC, or by a fixture."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.processes import DEADLINE, ECHO, alive, has_children, until
from trio_mcp_transport import Client, ConnectionClosed, StdioClientTransport, open_client, run_client

TASKS = 50


def transport() -> StdioClientTransport:
    return StdioClientTransport(ECHO, inherit_env=True)


async def use_from_fifty_tasks(client: Client) -> None:
    """Call from fifty tasks at once; each gets its own answer."""
    answers: dict[int, Any] = {}

    async def use(n: int) -> None:
        answers[n] = await client.request("echo", {"n": n})

    async with trio.open_nursery() as nursery:
        for n in range(TASKS):
            nursery.start_soon(use, n)
    assert {n: answer["n"] for n, answer in answers.items()} == {n: n for n in range(TASKS)}


def check_reaped(pid: int | None) -> None:
    assert pid is not None
    assert not alive(pid)
    assert not has_children()


async def test_opened_in_one_task_used_from_fifty_and_closed_by_another() -> None:
    opened: list[Client] = []
    stdio = transport()

    async def open_it(owner: trio.Nursery) -> None:
        opened.append(await owner.start(run_client, stdio))

    async def close_it(client: Client) -> None:
        await client.aclose()

    async with trio.open_nursery() as owner:
        async with trio.open_nursery() as opener:
            opener.start_soon(open_it, owner)
        (client,) = opened
        pid = stdio.pid
        await use_from_fifty_tasks(client)
        async with trio.open_nursery() as closers:
            closers.start_soon(close_it, client)
            closers.start_soon(close_it, client)
        check_reaped(pid)
        with pytest.raises(ConnectionClosed, match="the client was closed"):
            await client.request("echo", {})


async def test_a_block_on_the_callers_nursery_may_be_left_in_any_task() -> None:
    stdio = transport()
    async with trio.open_nursery() as owner:
        block = open_client(stdio, nursery=owner)
        async with trio.open_nursery() as first:
            first.start_soon(block.__aenter__)
        pid = stdio.pid
        assert pid is not None
        assert alive(pid)
        async with trio.open_nursery() as second:
            second.start_soon(block.__aexit__, None, None, None)
        check_reaped(pid)


async def test_a_block_with_its_own_nursery_says_that_it_is_for_one_task_and_kills_nothing() -> None:
    stdio = transport()
    block = open_client(stdio)
    client = await block.__aenter__()
    await use_from_fifty_tasks(client)
    refused: list[RuntimeError] = []

    async def leave_elsewhere() -> None:
        with pytest.raises(RuntimeError, match="nursery=") as caught:
            await block.__aexit__(None, None, None)
        refused.append(caught.value)

    async with trio.open_nursery() as other:
        other.start_soon(leave_elsewhere)
    assert len(refused) == 1
    await block.__aexit__(None, None, None)
    check_reaped(stdio.pid)


async def test_calls_open_at_the_close_fail_with_a_typed_error_and_the_child_is_reaped() -> None:
    stdio = transport()
    failures: list[Exception] = []

    async def call_for_ever(client: Client) -> None:
        try:
            await client.request("sleep", {"seconds": 1000})
        except ConnectionClosed as error:
            failures.append(error)

    async with trio.open_nursery() as owner:
        client = await owner.start(run_client, stdio)
        for _ in range(TASKS):
            owner.start_soon(call_for_ever, client)
        await trio.testing.wait_all_tasks_blocked()
        owner.start_soon(client.aclose)
        with trio.fail_after(1.0):
            await client.aclose()
    assert len(failures) == TASKS
    check_reaped(stdio.pid)


async def test_an_abandoned_generator_that_holds_a_client_closes_it_when_it_is_collected() -> None:
    stdio = transport()

    async def connections(owner: trio.Nursery) -> AsyncIterator[Client]:
        async with open_client(stdio, nursery=owner) as client:
            yield client

    async with trio.open_nursery() as owner:
        generator = connections(owner)
        client = await anext(generator)
        assert (await client.request("echo", {"a": 1}))["a"] == 1
        pid = stdio.pid
        assert pid is not None
        with warnings.catch_warnings():
            # Trio says that a generator was not closed, and closes it in a task of its own.
            warnings.simplefilter("ignore", ResourceWarning)
            del generator
            gc.collect()
            await until(lambda: not alive(pid))
        with trio.fail_after(DEADLINE):
            await client.aclose()
        check_reaped(pid)


async def test_a_client_nobody_refers_to_lives_as_long_as_its_nursery_and_no_longer() -> None:
    stdio = transport()
    async with trio.open_nursery() as owner:
        await owner.start(run_client, stdio)
        gc.collect()
        pid = stdio.pid
        assert pid is not None
        await trio.testing.wait_all_tasks_blocked()
        assert alive(pid)
        owner.cancel_scope.cancel()
    check_reaped(pid)


def test_a_run_that_ends_in_the_middle_leaves_no_process() -> None:
    stdio = transport()

    async def main() -> None:
        async with trio.open_nursery() as owner:
            await owner.start(partial(run_client, stdio))
            raise KeyError("the program's own")

    with pytest.raises(ExceptionGroup) as caught:
        trio.run(main)
    assert [type(error) for error in caught.value.exceptions] == [KeyError]
    check_reaped(stdio.pid)


@pytest.fixture
async def own_nursery() -> AsyncIterator[Client]:
    """Give a client whose block holds its own nursery."""
    stdio = transport()
    async with open_client(stdio) as client:
        yield client
    check_reaped(stdio.pid)


@pytest.fixture
async def shared_nursery(nursery: trio.Nursery) -> AsyncIterator[Client]:
    """Give a client that lives in the nursery of pytest-trio."""
    stdio = transport()
    async with open_client(stdio, nursery=nursery) as client:
        yield client
    check_reaped(stdio.pid)


async def test_a_fixture_with_a_block_of_its_own(own_nursery: Client) -> None:
    await use_from_fifty_tasks(own_nursery)


async def test_a_fixture_on_the_nursery_of_pytest_trio(shared_nursery: Client) -> None:
    await use_from_fifty_tasks(shared_nursery)


async def test_a_fixture_whose_client_the_test_closes_itself(shared_nursery: Client) -> None:
    await shared_nursery.aclose()
