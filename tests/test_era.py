"""The contract between a pipe and the machines that know eras."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import pytest

from tests.served import Slow, served, settle
from trio_mcp_transport import MessageContext
from trio_mcp_transport.era import InboundEra, Port
from trio_mcp_transport.errors import MessageError, RpcError
from trio_mcp_transport.intake import Intake
from trio_mcp_transport.legacy.inbound import ClientInbound
from trio_mcp_transport.pipe.end import PipeEnd
from trio_mcp_transport.transports.eras import ServerEras
from trio_mcp_transport.wire.envelope import Envelope
from trio_mcp_transport.wire.messages import Batch, Message, Notification, Request, Response


@pytest.mark.parametrize("implementation", [ServerEras, ClientInbound])
def test_both_machines_have_the_shape_of_the_contract(implementation: type) -> None:
    for name, function in inspect.getmembers(InboundEra, inspect.isfunction):
        if not name.startswith("_"):
            own = getattr(implementation, name)
            assert list(inspect.signature(own).parameters) == list(inspect.signature(function).parameters), name


def test_a_pipe_is_the_port_of_its_machine() -> None:
    for name, function in inspect.getmembers(Port, inspect.isfunction):
        if not name.startswith("_"):
            own = getattr(PipeEnd, name)
            assert list(inspect.signature(own).parameters) == list(inspect.signature(function).parameters), name
            assert inspect.iscoroutinefunction(own) == inspect.iscoroutinefunction(function), name


class Diary:
    """A machine of its own: answers what begins with `library`, refuses `no`, drops `drop`, leaves the rest."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.events: list[str] = []

    def request(self, request: Request) -> Envelope | Mapping[str, Any] | None:
        if request.method.startswith("library"):
            return {"by": "library"}
        if request.method == "no":
            raise RpcError(7, "no")
        return None if request.method == "drop" else Envelope()

    def notification(self, notification: Notification) -> Envelope | None:
        self.events.append(notification.method)
        return None

    def batch(self, batch: Batch) -> list[Message | MessageError]:
        return [Request("b", "library/batched"), MessageError("one member is none", message_id="c")]

    def answered(self, request: Request, response: Response) -> None:
        self.events.append(f"answered {request.method}")

    def unreadable(self, error: MessageError) -> Response | None:
        return Response(error.message_id, error=RpcError(9, "what?"))

    def context(self, envelope: Envelope, received_at: float) -> MessageContext:
        return MessageContext(self.port.info, envelope, received_at)

    def closed(self) -> None:
        self.events.append("closed")


@pytest.mark.parametrize("end", ["end of input", "cancelled", "reset"])
async def test_a_machine_decides_what_a_message_is_and_learns_once_of_the_end(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    diaries: list[Diary] = []
    prepare = Intake.__init__

    def with_diary(self: Intake, *args: Any, **options: Any) -> None:
        prepare(self, *args, **options)

        def new_era(port: Port) -> InboundEra:
            diaries.append(Diary(port))
            return diaries[-1]

        self.new_era = new_era

    monkeypatch.setattr(Intake, "__init__", with_diary)
    async with served(Slow()) as one:
        for id_, method in enumerate(("library/x", "no", "drop", "quick")):
            await one.write({"jsonrpc": "2.0", "id": id_, "method": method})
        await one.write({"jsonrpc": "2.0", "method": "note"})
        await one.near.send_all(b"[1]\n{oops\n")
        await settle()
        lines = {line.get("id"): line for line in [await one.wire.receive() for _ in range(6)]}
        assert lines[0]["result"] == lines["b"]["result"] == {"by": "library"}
        assert lines[1]["error"]["code"] == 7
        assert lines[3]["result"] == {}
        assert lines["c"]["error"]["code"] == lines[None]["error"]["code"] == 9
        assert 2 not in lines
        if end == "cancelled":
            one.scope.cancel()
        elif end == "reset":
            await one.near.aclose()
        else:
            await one.near.send_eof()
            one.scope.cancel()
        await one.ended.wait()
    (diary,) = diaries
    assert diary.events == ["note", "closed"]
