"""Base class of the config's sections, and of the service's requests."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError


class Strict(BaseModel):
    """Rejects unknown keys, NaN, infinity, and booleans as numbers; the docstring under a field is its description."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_booleans_as_numbers(cls, values: Any) -> Any:
        """Python takes true for 1 and false for 0."""
        given = values.items() if isinstance(values, dict) else ()
        wrong = [(name, value) for name, value in given if isinstance(value, bool) and not cls._takes_boolean(name)]
        if wrong:
            error = PydanticCustomError("boolean", "Input should not be true or false")
            details = [InitErrorDetails(type=error, loc=(name,), input=value) for name, value in wrong]
            raise ValidationError.from_exception_data(cls.__name__, details)
        return values

    @classmethod
    def _takes_boolean(cls, name: str) -> bool:
        return name not in cls.model_fields or bool in _members(cls.model_fields[name].annotation)


class Section(Strict):
    """A frozen section of the config; the docstring under a field is its help text."""

    model_config = ConfigDict(frozen=True)


def _members(annotation: Any) -> set[Any]:
    """The types that an annotation is made of."""
    return {annotation}.union(*map(_members, get_args(annotation))) if get_args(annotation) else {annotation}
