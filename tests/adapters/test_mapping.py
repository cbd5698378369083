"""Every foreign error leaves as one typed error that carries it; a cancellation leaves as it is."""

from __future__ import annotations

import pytest
import trio

from trio_mcp_transport import errors
from trio_mcp_transport.adapters.mapping import as_typed, mapped
from trio_mcp_transport.deadlines import DeadlineExceeded


def foreign(name: str, base: type[BaseException] = Exception) -> BaseException:
    return type(name, (base,), {})("details")


AirsError = type("TransportError", (Exception,), {})

TABLE = [
    (foreign("Closed"), errors.ConnectionClosed),
    (foreign("ClosedError"), errors.ConnectionClosed),
    (foreign("ConnectionClosed", AirsError), errors.ConnectionClosed),
    (EOFError(), errors.ConnectionClosed),
    (trio.EndOfChannel(), errors.ConnectionClosed),
    (trio.ClosedResourceError(), errors.ConnectionClosed),
    (foreign("Io"), errors.ConnectionFailed),
    (foreign("Network"), errors.ConnectionFailed),
    (ConnectionResetError("reset"), errors.ConnectionFailed),
    (trio.BrokenResourceError(), errors.ConnectionFailed),
    (foreign("Timeout"), DeadlineExceeded),
    (TimeoutError("late"), DeadlineExceeded),
    (trio.TooSlowError(), DeadlineExceeded),
    (foreign("Format"), errors.FramingError),
    (foreign("FormatError", AirsError), errors.FramingError),
    (foreign("BufferOverflow"), errors.FrameTooLarge),
    (foreign("Serialization"), errors.MessageError),
    (foreign("ProtocolViolation"), errors.RemoteProtocolError),
    (foreign("AuthenticationFailed"), errors.AuthenticationFailed),
    (foreign("RateLimitExceeded"), errors.RateLimitExceeded),
    (foreign("Derived", type("Timeout", (AirsError,), {})), DeadlineExceeded),
    (foreign("SomethingElse"), errors.ConnectionFailed),
    (AirsError("bare"), errors.ConnectionFailed),
    (ZeroDivisionError(), errors.ConnectionFailed),
]


@pytest.mark.parametrize(("error", "kind"), TABLE, ids=[type(error).__name__ for error, _ in TABLE])
def test_the_class_name_decides(error: BaseException, kind: type[errors.TransportError]) -> None:
    typed = as_typed(error, "sending failed")
    assert type(typed) is kind or (isinstance(typed, DeadlineExceeded) and kind is DeadlineExceeded)
    assert typed.__cause__ is error


def test_the_message_names_what_was_done_and_what_was_raised() -> None:
    assert str(as_typed(foreign("Timeout"), "sending failed")) == "sending failed: Timeout: details"


def test_our_own_errors_stay_what_they_are_even_with_a_telling_cause() -> None:
    own = errors.RateLimitExceeded("slow down")
    own.__cause__ = TimeoutError()
    assert as_typed(own) is own
    assert as_typed(ExceptionGroup("", [ExceptionGroup("", [own])])) is own


def test_a_group_of_one_is_its_member() -> None:
    closed = foreign("Closed")
    typed = as_typed(BaseExceptionGroup("", [closed]))
    assert type(typed) is errors.ConnectionClosed
    assert typed.__cause__ is closed


def test_a_group_of_several_is_a_failure_with_all_of_them() -> None:
    group = ExceptionGroup("both", [ValueError(), OSError()])
    typed = as_typed(group)
    assert type(typed) is errors.ConnectionFailed
    assert typed.__cause__ is group


def test_a_mapped_timeout_can_be_raised_again_for_another_caller() -> None:
    twin = as_typed(TimeoutError("late"), "receiving failed").twin()
    assert isinstance(twin, DeadlineExceeded)
    assert (twin.deadline, isinstance(twin.__cause__, TimeoutError)) == ("transport", True)


def test_a_block_raises_what_the_table_says() -> None:
    with pytest.raises(errors.ConnectionClosed) as caught, mapped("x"):
        raise EOFError
    assert isinstance(caught.value.__cause__, EOFError)
    own = errors.ConnectionFailed("ours")
    with pytest.raises(errors.ConnectionFailed) as same, mapped("x"):
        raise own
    assert same.value is own


async def test_a_block_lets_cancellation_and_interrupts_pass() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        with mapped("x"):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    with pytest.raises(KeyboardInterrupt), mapped("x"):
        raise KeyboardInterrupt
