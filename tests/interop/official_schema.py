"""Holds captured frames against the official JSON schema of a revision.

Must never follow an answer without its request: which result a response has to be follows from the method asked for.
The schemas are copies; `schemas/README.rst` says where from and under which licence.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

FOLDER = Path(__file__).with_name("schemas")

RESULTS = {
    "completion/complete": "CompleteResult",
    "initialize": "InitializeResult",
    "ping": "EmptyResult",
    "prompts/get": "GetPromptResult",
    "prompts/list": "ListPromptsResult",
    "resources/list": "ListResourcesResult",
    "resources/read": "ReadResourceResult",
    "resources/templates/list": "ListResourceTemplatesResult",
    "server/discover": "DiscoverResult",
    "subscriptions/listen": "SubscriptionsListenResult",
    "tools/call": "CallToolResult",
    "tools/list": "ListToolsResult",
}
REQUESTS = {
    "initialize": "InitializeRequest",
    "server/discover": "DiscoverRequest",
    "tools/call": "CallToolRequest",
    "tools/list": "ListToolsRequest",
}
NOTIFICATIONS = {
    "notifications/cancelled": "CancelledNotification",
    "notifications/initialized": "InitializedNotification",
    "notifications/message": "LoggingMessageNotification",
    "notifications/progress": "ProgressNotification",
    "notifications/resources/updated": "ResourceUpdatedNotification",
    "notifications/tools/list_changed": "ToolListChangedNotification",
}


@functools.cache
def validator(revision: str, name: str) -> Draft202012Validator:
    """Return the validator of one definition, such as ``DiscoverResult``.

    Raises:
        KeyError: The revision has no such definition.
    """
    definitions = _definitions(revision)
    if name not in definitions:
        raise KeyError(f"{name} is not defined in {revision}")
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": definitions})


def check(revision: str, name: str, value: object) -> None:
    """Fail unless a value is what the definition says.

    Raises:
        jsonschema.ValidationError: It is not.
    """
    validator(revision, name).validate(value)


def check_conversation(revision: str, asked: Iterable[Mapping[str, Any]], told: Iterable[Mapping[str, Any]]) -> int:
    """Fail unless every message of one side fits the schema; return how many responses had their result checked.

    Args:
        revision: The revision spoken.
        asked: Messages of the other side, which say what each response answers.
        told: The messages to check.

    Raises:
        jsonschema.ValidationError: A message does not fit.
        KeyError: A response answers nothing that was asked.
    """
    methods = {
        json.dumps(message["id"]): message["method"] for message in asked if "method" in message and "id" in message
    }
    results = 0
    for message in told:
        check(revision, "JSONRPCMessage", message)
        if "error" in message:
            check(revision, "JSONRPCErrorResponse", message)
        elif "result" in message:
            check(revision, RESULTS[methods[json.dumps(message["id"])]], message["result"])
            results += 1
        else:
            check(revision, (REQUESTS if "id" in message else NOTIFICATIONS)[message["method"]], message)
    return results


@functools.cache
def _definitions(revision: str) -> dict[str, Any]:
    definitions: dict[str, Any] = json.loads((FOLDER / f"{revision}.json").read_text(encoding="utf-8"))["$defs"]
    return definitions
