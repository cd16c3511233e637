"""The base of all sections: frozen, strict about types, strict about names; a field's help is the text under it."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        validate_default=True,
        allow_inf_nan=False,
        defer_build=True,  # `Settings` builds the sections once more anyway
    )
