"""The fixtures give fresh things each time, also to every example of a Hypothesis test."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

CONFTEST = 'pytest_plugins = ["trio_mcp_transport.testing.fixtures"]'


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A user's test suite with our fixtures, as `pytest_plugins` brings them."""
    pytester.makeini("[pytest]\ntrio_mode = true\n")
    pytester.makeconftest(CONFTEST)
    return pytester


def passed(suite: pytest.Pytester, text: str, count: int) -> None:
    suite.makepyfile(text)
    suite.runpytest_subprocess("-q", "-p", "no:cacheprovider").assert_outcomes(passed=count)


def test_each_fixture_serves_a_test(suite: pytest.Pytester) -> None:
    passed(
        suite,
        """
        import trio
        from trio_mcp_transport import Handlers, ServerInfo, open_client, serve

        async def echo(message, context):
            return {"n": message.params["n"]}

        async def test_connect(mcp_connect, autojump_clock):
            async with mcp_connect(Handlers(echo), era="legacy") as client:
                await trio.sleep(3600)
                assert (await client.request("echo", {"n": 1}))["n"] == 1

        async def test_memory(mcp_memory, nursery):
            server, client = mcp_memory()
            await nursery.start(serve, Handlers(echo), server)
            async with open_client(client, era="modern", discover=False) as one:
                assert (await one.request("echo", {"n": 2}))["n"] == 2

        async def test_mock(mock_transport):
            mock = mock_transport()
            mock.on("tools/list", {"tools": []})
            async with open_client(mock) as client:
                await client.request("tools/list")
            mock.assert_all_used()
        """,
        3,
    )


def test_every_example_of_hypothesis_gets_fresh_ones(suite: pytest.Pytester) -> None:
    passed(
        suite,
        """
        from hypothesis import given, settings, strategies as st
        from trio_mcp_transport import Handlers, open_client

        async def echo(message, context):
            return {"n": message.params["n"]}

        seen = []

        # Without suppress_health_check: the fixtures are right for @given as they are.
        @settings(max_examples=20, database=None, derandomize=True, deadline=None)
        @given(n=st.integers())
        async def test_property(mcp_connect, mcp_memory, mock_transport, n):
            mock = mock_transport()
            assert mock.sent_messages == []
            mock.add_response({"n": n})
            async with mcp_connect(Handlers(echo)) as client, open_client(mock) as mocked:
                assert (await client.request("echo", {"n": n}))["n"] == n
                assert (await mocked.request("echo"))["n"] == n
            assert mcp_memory()[0] is not mcp_memory()[0]
            seen.append(n)

        def test_it_ran_more_than_once():
            assert len(seen) >= 20
        """,
        2,
    )


def test_nothing_is_registered_by_itself(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(mock_transport): pass")
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'mock_transport' not found*"])
