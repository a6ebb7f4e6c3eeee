"""The base class of the API's schemas."""

from pydantic import BaseModel, ConfigDict


class Schema(BaseModel):
    """Base class of request and response bodies: unknown fields, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
