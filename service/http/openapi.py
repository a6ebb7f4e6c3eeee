"""The OpenAPI document that FastAPI generates, with the schema of configs/ for the body of `POST /runs`."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from configs.schema import Config
from service.http.runs.request_rules import CLOSED, MAX_CHARS, MAX_INTEGER, MAX_INTEGERS

ABOUT = """Submit runs, follow them, and request summaries and scores.

If the service has keys, requests need the header `Authorization: Bearer KEY`. GET requests need the scope `read`,
summaries and scores need `generate`, and starting or changing runs needs `submit`."""
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
    "400": "The body is not JSON in UTF-8",
    "401": "Missing or unknown key",
    "403": "The key lacks the scope, or the request is cross-origin",
    "413": "The body is too large",
    "421": "The Host header names a host that this service does not serve",
    "422": "Invalid request; `errors` names the fields",
    "429": "A limit is reached; retry after Retry-After seconds",
    "503": "The cluster or the models are unavailable; retry after Retry-After seconds",
    "504": "Timed out",
}
"""Errors that any route can return."""


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the app; generated once."""
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(title="seqrlhf", version=app.version, description=ABOUT, routes=app.routes)
    schemas = document["components"]["schemas"]
    schemas |= {"Error": ERROR} | config_schemas()
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
    statuses = COMMON | ({"404": "The run, or the file, does not exist"} if "{run}" in path else {})
    if path == "/runs" or "{run}" in path:
        statuses |= {
            "409": "The state of the run does not allow this, or the Idempotency-Key was used for another request"
        }
    if path in ("/health", "/ready"):
        statuses = {"421": COMMON["421"]}
    return {status: {"description": text, "content": content} for status, text in statuses.items()}


def config_schemas() -> dict[str, Any]:
    """The config's schema as `POST /runs` takes it: all settings optional, over the preset that `base` names."""
    schema = Config.model_json_schema(ref_template="#/components/schemas/run.{model}")
    sections = {f"run.{name}": section for name, section in schema.pop("$defs").items()}
    for section in [schema, *sections.values()]:
        section.pop("required", None)
        section.pop("default", None)
        for field in section.get("properties", {}).values():
            field.pop("default", None)
    _remove_closed(schema, sections)
    schema, sections = _without_tags(schema), _without_tags(sections)
    schema["title"] = "RunRequest"
    larger = ", ".join(f"{name} {number}" for name, number in MAX_INTEGERS.items())
    schema["description"] += (
        f" Integers are at most {MAX_INTEGER} ({larger}), texts have at most {MAX_CHARS} characters."
    )
    schema["properties"] = {
        "base": {"type": "string", "description": "Preset that the run is based on; GET /presets lists them."}
    } | schema["properties"]
    return sections | {"RunRequest": schema}


def _remove_closed(schema: dict[str, Any], sections: dict[str, Any]) -> None:
    for closed in CLOSED:
        section, _, field = closed.rpartition(".")
        properties = schema["properties"]
        if section:
            properties = sections[properties[section]["$ref"].rpartition("/")[2]]["properties"]
        properties.pop(field, None)


def _without_tags(schema: Any) -> Any:
    """The schema without discriminators: a section may omit its `type`, which then comes from the preset."""
    if isinstance(schema, list):
        return [_without_tags(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {"anyOf" if key == "oneOf" else key: part for key, part in schema.items() if key != "discriminator"}
    return {key: _without_tags(part) for key, part in renamed.items()}
