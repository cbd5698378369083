"""The connection's boundary: whatever a transport or a caller's callback raises ends here, as one typed error.

Beside the dispatcher, which is the boundary of an exchange, this is the only module that catches broadly.  It must
never swallow a cancellation, `KeyboardInterrupt` or `SystemExit`, and must never hide what it caught: it returns it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..errors import ConnectionFailed, TransportError

__all__ = ["as_transport_error", "call_contained", "run_contained"]


async def run_contained(run: Callable[[], Awaitable[object]]) -> TransportError | None:
    """Run a transport, or one connection of it, and return the error it ended with.

    Adds no checkpoint of its own.  Cancellation passes through, also out of a group in which it is mixed with errors;
    those errors are then lost, for nobody waits for them any more.

    Args:
        run: Called without arguments and awaited.

    Returns:
        None after a normal end; otherwise what `as_transport_error` makes of the failure.
    """
    failure: BaseExceptionGroup[Exception] | None = None
    # Groups first: a nursery inside ``run`` raises groups that mix Cancelled with errors, and a plain ``except``
    # would either miss them or take the Cancelled away from its scope.
    try:
        await run()
    except* Exception as group:
        failure = group
    return None if failure is None else as_transport_error(failure)


def call_contained(function: Callable[..., object], *args: object) -> Exception | None:
    """Call a plain function that belongs to somebody else and return what it raised, or None."""
    try:
        function(*args)
    except Exception as error:
        return error
    return None


def as_transport_error(failure: BaseException) -> TransportError:
    """Return the one `TransportError` that a failure of a transport stands for.

    Groups of one are taken apart.  What is no `TransportError` becomes the ``__cause__`` of a `ConnectionFailed`.
    """
    while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    if isinstance(failure, TransportError):
        return failure
    error = ConnectionFailed(f"the transport failed: {failure!r}")
    error.__cause__ = failure
    return error
