"""The base class of the API's schemas, and the form of every error."""

from pydantic import ConfigDict

from configs.base import Strict

PROBLEM_EXAMPLE = {"field": "steps", "message": "Input should be greater than 0"}


class Schema(Strict):
    """Base class of request and response bodies."""


class Problem(Schema):
    """One thing that is wrong with a request."""

    field: str = ""
    """The field at fault; left out where there is none."""
    message: str
    """What is wrong and what to do."""


class Error(Schema):
    """Why a request was refused or failed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"errors": [PROBLEM_EXAMPLE], "request_id": "7c1f"}]})

    errors: list[Problem]
    """All problems that were found."""
    request_id: str
    """Id of the request, under which the log has more."""
