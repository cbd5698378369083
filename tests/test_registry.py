"""The registry: names to transports, built in or of other distributions, and nobody's trouble is anybody else's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.certificates import client_context, server_context
from tests.package_tree import ROOT
from trio_mcp_transport import ClientTransport, ServerInfo, ServerTransport, StdioServerTransport, open_client, serve
from trio_mcp_transport.addresses import FRAMINGS, SCHEMES, parse_address, parse_endpoint
from trio_mcp_transport.cli.echo_server import Echo
from trio_mcp_transport.errors import ConfigError, ConnectionFailed, TransportError
from trio_mcp_transport.registry import (
    GROUP,
    OWN_DISTRIBUTION,
    client_transport_for,
    server_transport_for,
    transport_names,
)
from trio_mcp_transport.transports import framings

Install = Callable[..., Path]

GOOD = """
from trio_mcp_transport.abc import ClientTransport, ServerTransport
from trio_mcp_transport.registry import TransportPlugin

class Client(ClientTransport):
    def __init__(self, rest):
        self.rest = rest
    async def run(self, setup, *, task_status):
        raise ValueError("no such luck")

class Server(ServerTransport):
    def __init__(self, rest):
        self.rest = rest
    async def run(self, exchanges, *, task_status):
        raise ValueError("no such luck")

plugin = TransportPlugin(client=Client, server=Server, form="COLOUR")
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution that claims names: its metadata and one module per name, in a folder on ``sys.path``."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(distribution: str, *, folder: Path = tmp_path, entries: str = "", **plugins: str) -> Path:
        info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = [f"{name} = {distribution.replace('-', '_')}_{name}:plugin\n" for name in plugins]
        (info / "entry_points.txt").write_text(entries or f"[{GROUP}]\n{''.join(lines)}")
        for name, code in plugins.items():
            (folder / f"{distribution.replace('-', '_')}_{name}.py").write_text(code)
        return info

    yield put
    for name in set(sys.modules) - before:
        if name.startswith("toy_"):
            del sys.modules[name]


def refusal(address: str, side: Callable[..., object] = client_transport_for, **options: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        side(address, **options)
    return caught.value


# Plug-ins.


def test_a_plugin_makes_both_sides_of_what_stands_behind_its_name(install: Install) -> None:
    install("toy-one", paint=GOOD)
    client: Any = client_transport_for("paint:red?x=1")
    server: Any = server_transport_for(parse_address("PAINT:blue"))
    assert isinstance(client, ClientTransport) and client.rest == "red?x=1"
    assert isinstance(server, ServerTransport) and server.rest == "blue"
    assert transport_names()["paint"] == ("toy-one",)


def test_nothing_is_imported_before_its_name_is_asked_for(install: Install, tmp_path: Path) -> None:
    install("toy-one", paint=GOOD, bomb="raise RuntimeError('imported')")
    code = """
import sys, trio_mcp_transport, trio_mcp_transport.registry as registry
def there():
    heavy = ("trio_websocket", "wsproto", "httpx", "hypercorn", "trio_mcp_transport.transports.tcp",
             "trio_mcp_transport.transports.unix", "trio_mcp_transport.transports.websocket")
    return sorted(name for name in sys.modules if name.startswith("toy_") or name in heavy)
print(there())
registry.transport_names()
print(there())
registry.client_transport_for("paint:red")
print(there())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["[]", "[]", "['toy_one_paint']"]


def test_an_unknown_name_is_told_what_exists(install: Install) -> None:
    install("toy-one", paint=GOOD)
    told = str(refusal("pigeon:x"))
    assert told.startswith("pigeon: is no scheme of the address grammar and no plug-in; what exists for a client: ")
    assert "tcp://HOST:PORT, " in told
    assert told.endswith("paint: (a plug-in of toy-one)")
    assert "stdio:, " in str(refusal("pigeon:x", server_transport_for))
    assert "toy_one_paint" not in sys.modules


def test_two_distributions_that_claim_one_name_are_both_named(install: Install) -> None:
    install("toy-one", paint=GOOD, other=GOOD)
    install("toy-two", entries=f"[{GROUP}]\nPaint = toy_one_paint:plugin\n")
    for side in (client_transport_for, server_transport_for):
        assert "claimed by the distributions toy-one and toy-two" in str(refusal("paint:x", side))
    assert transport_names()["paint"] == ("toy-one", "toy-two")
    # Nobody else is harmed.
    assert isinstance(client_transport_for("other:x"), ClientTransport)


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_a_built_in_scheme_belongs_to_this_distribution(install: Install, scheme: str) -> None:
    install("toy-one", entries=f"[{GROUP}]\n{scheme} = toy_one:plugin\n", paint=GOOD)
    for side in (client_transport_for, server_transport_for):
        told = str(refusal(SCHEMES[scheme], side))
        assert f"{scheme}: claimed by the distributions {OWN_DISTRIBUTION} and toy-one" in told


def test_one_distribution_seen_twice_on_the_path_claims_once(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("toy-one", paint=GOOD)
    install("toy-one", folder=tmp_path / "later", paint=GOOD)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "later")])
    assert transport_names()["paint"] == ("toy-one",)


@pytest.mark.parametrize(
    ("code", "cause", "told"),
    [
        ("import nowhere_to_be_found", ModuleNotFoundError, "nowhere_to_be_found"),
        ("1 / 0", ZeroDivisionError, "division by zero"),
        ("raise SystemExit(3)", SystemExit, "SystemExit: 3"),
        ("plugin: int", AttributeError, "plugin"),
        ("def f(:", SyntaxError, "SyntaxError"),
    ],
)
def test_a_plugin_that_fails_to_import_breaks_nobody_else(
    install: Install, code: str, cause: type[BaseException], told: str
) -> None:
    install("toy-bad", broken=code)
    install("toy-one", paint=GOOD)
    for side in (client_transport_for, server_transport_for):
        error = refusal("broken:x", side)
        assert "broken: the plug-in of toy-bad cannot be imported" in str(error)
        assert told in str(error)
        assert isinstance(error.__cause__, cause)
    assert isinstance(client_transport_for("paint:x"), ClientTransport)
    assert isinstance(server_transport_for("stdio:"), StdioServerTransport)
    assert "broken" in transport_names()


def test_metadata_that_cannot_be_read_breaks_nobody_else(install: Install) -> None:
    install("toy-one", paint=GOOD)
    info = install("toy-garbage", entries=f"[{GROUP}]\nno equals sign\n")
    (info / "METADATA").write_bytes(b"\xff\xfe")
    install("toy-nameless", paper=GOOD).joinpath("METADATA").unlink()
    assert isinstance(client_transport_for("paint:x"), ClientTransport)
    assert isinstance(server_transport_for("stdio:"), StdioServerTransport)
    assert set(transport_names()) >= {"paint", "stdio"}


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("plugin = object()", "is no TransportPlugin but <object"),
        (
            "from trio_mcp_transport.registry import TransportPlugin\nplugin = TransportPlugin()",
            "has no client transport",
        ),
        (GOOD.replace("client=Client", "client=lambda rest: None"), "made no ClientTransport but None"),
        (GOOD.replace("client=Client", "client=Server"), "made no ClientTransport but"),
    ],
)
def test_what_is_no_plugin_is_said(install: Install, code: str, told: str) -> None:
    install("toy-one", paint=code)
    assert f"paint: the plug-in of toy-one {told}" in str(refusal("paint:x"))


def test_a_plugin_that_refuses_what_stands_behind_its_name(install: Install) -> None:
    install(
        "toy-one",
        paint=GOOD + "\ndef refuse(rest): raise KeyError(rest)\nplugin = TransportPlugin(client=refuse, form='COLOUR')",
    )
    error = refusal("paint:x")
    assert "toy-one refuses 'x' (its form: paint:COLOUR): KeyError: 'x'" in str(error)
    assert isinstance(error.__cause__, KeyError)


def test_a_plugins_own_transport_error_is_the_answer(install: Install) -> None:
    code = GOOD + "\nfrom trio_mcp_transport.errors import *\ndef refuse(rest): raise ConfigError('not that one')\n"
    install("toy-one", paint=code + "plugin = TransportPlugin(client=refuse)")
    assert str(refusal("paint:x")) == "not that one"


def test_a_plugin_takes_no_options(install: Install) -> None:
    install("toy-one", paint=GOOD)
    assert "a plug-in takes no options" in str(refusal("paint:x", verify=False))


async def test_what_a_custom_client_transport_raises_reaches_the_caller_with_its_cause(install: Install) -> None:
    install("toy-one", paint=GOOD)
    with pytest.raises(TransportError) as caught:
        async with open_client(client_transport_for("paint:x")):
            pytest.fail("there is no connection")
    assert isinstance(caught.value, ConnectionFailed)
    assert isinstance(caught.value.__cause__, ValueError)
    assert "no such luck" in str(caught.value)


async def test_what_a_custom_server_transport_raises_reaches_the_caller_with_its_cause(install: Install) -> None:
    install("toy-one", paint=GOOD)
    with pytest.raises(TransportError) as caught:
        await serve(Echo(), server_transport_for("paint:x"))
    assert isinstance(caught.value, ConnectionFailed)
    assert isinstance(caught.value.__cause__, ValueError)


BREAKING = """
import trio
from trio_mcp_transport import ServerInfo, memory_transports, serve
from trio_mcp_transport.cli.echo_server import Echo
from trio_mcp_transport.registry import TransportPlugin
from trio_mcp_transport.testing import StreamClientTransport, StreamServerTransport, byte_stream_pair

class Line:
    def __init__(self, stream):
        self.send_all, self.aclose, self._receive = stream.send_all, stream.aclose, stream.receive_some
    async def receive_some(self, max_bytes=None):
        data = await self._receive(max_bytes)
        if b"cut me" in data:
            RAISE
        return data

class Client(StreamClientTransport):
    def __init__(self, rest):
        near, self.far = byte_stream_pair()
        super().__init__(Line(near))
    async def run(self, setup, *, task_status):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: serve(Echo(), StreamServerTransport(self.far), server_info=ServerInfo("e", "1")))
            await super().run(setup, task_status=task_status)

plugin = TransportPlugin(client=Client)
"""


@pytest.mark.parametrize(
    "raises", ["raise OSError('the line is cut')", "raise ExceptionGroup('several', [OSError('the line is cut')])"]
)
async def test_what_it_raises_later_fails_the_calls_that_wait(install: Install, raises: str) -> None:
    install("toy-one", paint=BREAKING.replace("RAISE", raises))
    failures: list[TransportError] = []
    with trio.fail_after(5):
        async with open_client(client_transport_for("paint:x")) as client:

            async def call(method: str, **params: Any) -> None:
                with pytest.raises(TransportError) as caught:
                    await client.request(method, params)
                failures.append(caught.value)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(call, "sleep", seconds=60))
                nursery.start_soon(partial(call, "echo", text="cut me"))
            await call("echo", text="too late")
    assert len(failures) == 3
    for error in failures:
        assert isinstance(error, ConnectionFailed)
        assert isinstance(error.__cause__, OSError)
        assert str(error.__cause__) == "the line is cut"


# Built in.


def test_addresses_within_a_process_say_what_to_do_instead() -> None:
    assert "needs the program's command" in str(refusal("stdio:server"))
    for side in (client_transport_for, server_transport_for):
        assert "memory_transports()" in str(refusal("memory:", side))
    assert "nothing stands behind the colon" in str(refusal("stdio:server", server_transport_for))


@pytest.mark.parametrize("address", ["http://h:1/mcp", "https://h:1/mcp", "http+unix://x/mcp"])
def test_what_has_no_transport_yet_is_told_apart(address: str) -> None:
    assert "is not served by this version; what exists" in str(refusal(address))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:0", "ws://127.0.0.1:0/x", "unix:{folder}/x"])
@pytest.mark.parametrize("framing", FRAMINGS)
async def test_what_a_server_reports_leads_a_client_to_it(address: str, framing: str, tmp_path: Path) -> None:
    if framing != "newline" and address.startswith("ws"):
        address = "ws://127.0.0.1:0"  # there the frames are WebSocket's, and the path is the default one
    elif framing != "newline":
        address += f"?framing={framing}"
    server = server_transport_for(address.replace("{folder}", str(tmp_path)))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            (reported,) = await nursery.start(partial(serve, Echo(), server, server_info=ServerInfo("echo", "1")))
            assert str(parse_endpoint(reported)) == reported
            async with open_client(client_transport_for(reported)) as client:
                assert (await client.request("echo", {"n": 1}))["n"] == 1
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("scheme", ["tcp", "ws"])
@pytest.mark.parametrize("engine", ["trio-websocket", "native"])
async def test_options_reach_the_constructor(scheme: str, engine: str) -> None:
    secure = {"tcp": "tls", "ws": "wss"}[scheme]
    own: dict[str, Any] = {"engine": engine} if scheme == "ws" else {}
    server = server_transport_for(f"{secure}://127.0.0.1:0", ssl_context=server_context(), max_connections=3, **own)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            (reported,) = await nursery.start(partial(serve, Echo(), server, server_info=ServerInfo("echo", "1")))
            assert reported.startswith(f"{secure}://127.0.0.1:")
            async with open_client(client_transport_for(reported, ssl_context=client_context(), **own)) as client:
                assert (await client.request("echo", {"n": 1}))["n"] == 1
            with pytest.raises(TransportError, match="certificate"):
                async with open_client(client_transport_for(reported, **own)):
                    pytest.fail("nobody vouches for that certificate")
            nursery.cancel_scope.cancel()


def test_tls_is_what_the_address_says() -> None:
    context = server_context()
    for plain, secure in (("tcp", "tls"), ("ws", "wss")):
        assert "needs an ssl_context" in str(refusal(f"{secure}://h:0", server_transport_for))
        assert "without TLS" in str(refusal(f"{plain}://h:0", server_transport_for, ssl_context=context))


@pytest.mark.parametrize("address", ["tcp://h", "tcp://h:0", "unix:", "ws://h:1/#x", "tls://h:x"])
def test_an_address_that_is_wrong_is_a_config_error(address: str) -> None:
    refusal(address)


def test_the_framings_of_addresses_are_those_of_the_transports() -> None:
    assert FRAMINGS == framings.FRAMINGS
