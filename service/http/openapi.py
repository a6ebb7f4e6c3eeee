"""The OpenAPI document that FastAPI generates, with the schema of configs/ for the body of `POST /runs`."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import Field, create_model

from configs.base import Section
from configs.schema import Config
from service.http.runs.request_rules import CLOSED, MAX_CHARS, MAX_INTEGER, MAX_INTEGERS
from service.http.schemas import Error

ABOUT = """Submit runs, follow them, request summaries and scores, and have people compare summaries.

If the service has keys, requests need the header `Authorization: Bearer KEY`. Each operation names the scope that the
key needs."""
REF = "#/components/schemas/{model}"
COMMON = {
    "400": "The body is not JSON in UTF-8",
    "401": "Missing, unknown or expired key",
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
    schemas |= _with_definitions(Error.model_json_schema(ref_template=REF)) | config_schemas()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    body = document["paths"]["/runs"]["post"]["requestBody"]["content"]["application/json"]
    body["schema"] = {"$ref": REF.format(model="RunSettings")}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            operation["responses"] |= _errors(path, method)
            for scheme in operation.get("security", ()):
                scopes = ", ".join(f"`{scope}`" for scope in scheme["key"])
                operation["description"] += f"\n\nNeeds a key with the scope {scopes}."
    app.openapi_schema = document
    return document


def _errors(path: str, method: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": REF.format(model="Error")}}}
    statuses = COMMON | {"404": "The run, or the file, does not exist"} if "{run}" in path else COMMON
    if "{campaign}" in path:
        statuses = statuses | {"404": "The campaign, or the question, does not exist"}
    if path.startswith("/runs") and method != "get":
        statuses |= {
            "409": "The state of the run does not allow this, or the Idempotency-Key was used for another request"
        }
    if path.startswith("/campaigns/"):
        statuses |= {"409": "The state of the campaign or of the question does not allow this"}
    if path in ("/health", "/ready"):
        statuses = {}
    return {status: {"description": text, "content": content} for status, text in statuses.items()}


def config_schemas() -> dict[str, Any]:
    """The config's schema as `POST /runs` takes it: all settings optional, over the preset that `base` names."""
    base = (str, Field(description="Preset that the run is based on; GET /presets lists them."))
    fields = {name: (field.annotation, field) for name, field in Config.model_fields.items() if name not in CLOSED}
    settings = create_model("RunSettings", __base__=Section, __doc__=_about(), base=base, **fields)
    schemas = _with_definitions(settings.model_json_schema(ref_template=REF))
    for schema in schemas.values():
        schema.pop("required", None)
        schema.pop("default", None)
        for field in schema.get("properties", {}).values():
            field.pop("default", None)
    for closed in CLOSED:
        section, _, field = closed.rpartition(".")
        if section:
            name = schemas["RunSettings"]["properties"][section]["$ref"].rpartition("/")[2]
            schemas[name]["properties"].pop(field)
    return _without_tags(schemas)


def _about() -> str:
    larger = ", ".join(f"{name} {number}" for name, number in MAX_INTEGERS.items())
    return (
        f"Settings of a run, over its preset's. Integers are at most {MAX_INTEGER} ({larger}), texts have at most "
        f"{MAX_CHARS} characters."
    )


def _with_definitions(schema: dict[str, Any]) -> dict[str, Any]:
    """A model's schema and those that it refers to, by name."""
    return schema.pop("$defs", {}) | {schema["title"]: schema}


def _without_tags(schema: Any) -> Any:
    """The schema without discriminators: a section may omit its `type`, which then comes from the preset."""
    if isinstance(schema, list):
        return [_without_tags(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {"anyOf" if key == "oneOf" else key: part for key, part in schema.items() if key != "discriminator"}
    return {key: _without_tags(part) for key, part in renamed.items()}
