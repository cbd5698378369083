"""Starting a child process that serves a protocol on its standard input and output.

This module must never use a shell, never hand the child a descriptor beyond its three, and never leave one of the pipes
open when the start fails.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence

import trio

from trio_mcp_transport.errors import ConfigError, ConnectionFailed
from trio_mcp_transport.transports.child import Child
from trio_mcp_transport.transports.child_environment import child_environment
from trio_mcp_transport.transports.descriptor import widen_pipe
from trio_mcp_transport.transports.fdstream import FdPair, FdReceiveStream, FdSendStream
from trio_mcp_transport.transports.stderr_policy import StderrCollector, StderrPolicy, check_stderr_policy

__all__ = ["Command", "spawn"]

Command = Sequence[str | os.PathLike[str]]
"""A program and its arguments, one element each."""


@trio.lowlevel.enable_ki_protection  # an interrupt while it starts would leave a child that nobody knows
async def spawn(
    command: Command,
    *,
    env: Mapping[str, str] | None = None,
    inherit_env: bool = False,
    cwd: str | os.PathLike[str] | None = None,
    stderr: StderrPolicy = "inherit",
) -> Child:
    """Start a program with pipes as its standard input and output.

    It leads a session of its own, and so a process group: signals reach its helpers too, Control-C in a terminal does
    not reach it, so that this program decides how it ends, and without a terminal to ask on, it fails instead of
    stopping in the background for ever.

    Args:
        command: The program and its arguments, one element each; no shell sees them.
        env: Variables of the child, over the few it inherits (`INHERITED_VARIABLES` and ``LC_*``).
        inherit_env: Let it inherit everything.
        cwd: Its working directory; this program's when None.
        stderr: ``inherit`` shares standard error, ``devnull`` throws it away, ``capture`` keeps the last 64 KiB, and a
            function gets every line, besides what is kept.

    Returns:
        The child; its owner must call `Child.shutdown`.

    A cancelled call has started nothing.

    Raises:
        ConfigError: An argument cannot be one.
        ConnectionFailed: The program could not be started; ``__cause__`` is the `OSError`.
    """
    arguments = _arguments(command)
    check_stderr_policy(stderr)
    environment = child_environment(env, inherit=inherit_env)
    directory = None if cwd is None else os.fspath(cwd)
    if directory is not None and "\0" in directory:
        raise ConfigError("the working directory contains a NUL character")
    await trio.lowlevel.checkpoint()
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        try:
            child_input, our_output = _pipe(theirs, ours, wide=True)
            our_input, child_output = _pipe(ours, theirs, wide=True)
            our_stderr, child_stderr = _stderr(stderr, ours, theirs)
            # The call runs in a thread, is not abandoned when cancelled, and passes no checkpoint after it.
            process = await trio.lowlevel.open_process(
                arguments,
                stdin=child_input,
                stdout=child_output,
                stderr=child_stderr,
                start_new_session=True,
                env=environment,
                cwd=directory,
            )
        except OSError as error:
            raise _start_error(arguments[0], directory, error) from error
        ours.pop_all()
        pair = FdPair(FdSendStream(our_output, restore_flags=False), FdReceiveStream(our_input, restore_flags=False))
        stream = None if our_stderr is None else FdReceiveStream(our_stderr, restore_flags=False)
        return Child(arguments[0], process, pair, stream, StderrCollector(stderr if callable(stderr) else None))


def _arguments(command: Command) -> list[str]:
    if isinstance(command, str | bytes | os.PathLike):
        raise ConfigError("a command is a sequence of strings, program first, never one string for a shell to split")
    try:
        arguments = [os.fspath(part) for part in command]
    except TypeError as error:
        raise ConfigError(f"a command is a sequence of strings: {error}") from error
    if not arguments or not arguments[0]:
        raise ConfigError("the command names no program")
    if any(type(part) is not str or "\0" in part for part in arguments):
        raise ConfigError("the elements of a command are strings without NUL characters")
    return arguments


def _pipe(reading: contextlib.ExitStack, writing: contextlib.ExitStack, *, wide: bool = False) -> tuple[int, int]:
    """Make a pipe that no other child inherits, each end closed by the stack of its side."""
    reader, writer = os.pipe()
    reading.callback(os.close, reader)
    writing.callback(os.close, writer)
    if wide:
        widen_pipe(writer)
    return reader, writer


def _stderr(
    policy: StderrPolicy, ours: contextlib.ExitStack, theirs: contextlib.ExitStack
) -> tuple[int | None, int | None]:
    """Return our end and what the child gets."""
    if policy == "inherit":
        try:
            os.fstat(2)
        except OSError:
            return None, subprocess.DEVNULL  # Closed: the first file the child opens would become its log.
        return None, None
    if policy == "devnull":
        return None, subprocess.DEVNULL
    return _pipe(ours, theirs)


def _start_error(name: str, directory: str | None, error: OSError) -> ConnectionFailed:
    cause = error.strerror or str(error)
    if directory is not None and error.filename == directory:
        return ConnectionFailed(f"cannot start {name!r} in directory {directory!r}: {cause}")
    return ConnectionFailed(f"cannot start {name!r}: {cause}")
