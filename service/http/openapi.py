"""The description of the API: what FastAPI makes of the routes, with the one schema of configs in it."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from configs.schema import Config
from service.http.runs.presets import CHARS, CLOSED, LARGEST, MOST

ABOUT = """Submit runs, watch them, and ask for summaries and scores.

Where keys are set, each request needs `Authorization: Bearer KEY`; a route says which scope its key must have."""
ERROR = {
    "type": "object",
    "required": ["errors", "request_id"],
    "properties": {
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "request_id": {"type": "string"},
    },
    "examples": [{"errors": [{"field": "steps", "message": "Input should be greater than 0"}], "request_id": "7c1f"}],
}
COMMON = {
    "400": "The body is no JSON in UTF-8",
    "401": "No key, or an unknown one",
    "403": "The key has not the scope",
    "413": "The body is too large",
    "421": "The service is not called so",
    "422": "Something in the request is wrong; the fields are named",
    "429": "Too much is asked for at once; come again after Retry-After seconds",
    "503": "Cluster or models do not answer; come again after Retry-After seconds",
    "504": "It took too long",
}
"""What any route may answer."""


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made once."""
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(title="seqrlhf", version=app.version, description=ABOUT, routes=app.routes)
    schemas = document["components"]["schemas"]
    schemas |= {"Error": ERROR} | run_schemas()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    body = document["paths"]["/runs"]["post"]["requestBody"]["content"]["application/json"]
    body["schema"] = {"$ref": "#/components/schemas/RunRequest"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["responses"] |= _errors(path)
            if "security" not in operation and path not in ("/health", "/ready"):
                operation["security"] = [{"key": []}]
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    app.openapi_schema = document
    return document


def _errors(path: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    statuses = COMMON | ({"404": "There is no such run, or no such file of it"} if "{run}" in path else {})
    if path == "/runs" or "{run}" in path:
        statuses |= {"409": "Not to be done with the run as it is"}
    if path in ("/health", "/ready"):
        statuses = {"421": COMMON["421"]}
    return {status: {"description": text, "content": content} for status, text in statuses.items()}


def run_schemas() -> dict[str, Any]:
    """The config's schema as clients may send it: any part of it, over the preset that `base` names."""
    schema = Config.model_json_schema(ref_template="#/components/schemas/run.{model}")
    parts = {f"run.{name}": part for name, part in schema.pop("$defs").items()}
    for part in [schema, *parts.values()]:
        part.pop("required", None)
        part.pop("default", None)
        for field in part.get("properties", {}).values():
            field.pop("default", None)
    for closed in CLOSED:
        section, _, field = closed.rpartition(".")
        properties = schema["properties"]
        if section:
            properties = parts[properties[section]["$ref"].rpartition("/")[2]]["properties"]
        properties.pop(field, None)
    schema, parts = _without_tags(schema), _without_tags(parts)
    schema["title"] = "RunRequest"
    larger = ", ".join(f"{name} {number}" for name, number in LARGEST.items())
    schema["description"] += f" Whole numbers are at most {MOST} ({larger}), texts have at most {CHARS} characters."
    schema["properties"] = {
        "base": {"type": "string", "description": "Preset that the run is based on; GET /presets names them."}
    } | schema["properties"]
    return parts | {"RunRequest": schema}


def _without_tags(schema: Any) -> Any:
    """The same where a section need not say its `type`, since it may be that of the preset."""
    if isinstance(schema, list):
        return [_without_tags(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {"anyOf" if key == "oneOf" else key: part for key, part in schema.items() if key != "discriminator"}
    return {key: _without_tags(part) for key, part in renamed.items()}
