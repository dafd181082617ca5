"""The API's own description, finished: every operation's failures have the one form of `errors.py`.

Pure: takes the OpenAPI document that Litestar derives from the handlers and returns it with our
error body in place of Litestar's. Operations that need no identity say so.
"""

from __future__ import annotations

from typing import Any

_PUBLIC = ("getHealth", "signIn")
_BODY = {
    "type": "object",
    "title": "Error",
    "description": "A failure: a stable code, what happened, why, and what to do.",
    "properties": {name: {"type": "string"} for name in ("code", "what", "why", "hint")},
    "required": ["code", "what", "why", "hint"],
    "additionalProperties": False,
}


def described(document: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI document with our failures. The document handed in stays as it was."""
    components = {**document.get("components", {})}
    components["schemas"] = {**components.get("schemas", {}), "Error": _BODY}
    paths = {
        path: {method: _operation(operation) for method, operation in operations.items()}
        for path, operations in document["paths"].items()
    }
    return {**document, "paths": paths, "components": components}


def _operation(operation: dict[str, Any]) -> dict[str, Any]:
    kept = {status: answer for status, answer in operation.get("responses", {}).items() if status < "400"}
    failure = {
        "description": "A failure, with the status of its kind",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    changed = {**operation, "responses": {**kept, "default": failure}}
    if operation.get("operationId") in _PUBLIC:
        changed["security"] = []
    return changed
