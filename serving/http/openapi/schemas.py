"""The types of bodies as schemas of OpenAPI 3.0, made by pydantic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from pinnace.serving.routes import Json

_TEMPLATE = "#/components/schemas/{model}"


def component_name(body: type) -> str:
    """The name of a type of bodies in the document."""
    return body.__name__.removesuffix("Body")


def ref(body: type) -> Json:
    """A reference to the schema of a type of bodies."""
    return {"$ref": _TEMPLATE.format(model=component_name(body))}


def object_of(properties: Json, required: list[str]) -> Json:
    """The schema of an object."""
    return {"type": "object", "properties": properties, "required": required}


def component_schemas(answers: Iterable[type], requests: Iterable[type] = ()) -> Json:
    """The schemas of types of bodies, and of all types that they are made of, by their names.

    Args:
        answers: types of what is sent.
        requests: types of what is received.
    """
    modes: dict[type, JsonSchemaMode] = {
        **dict.fromkeys(requests, "validation"),
        **dict.fromkeys(answers, "serialization"),
    }
    adapters: list[tuple[type, JsonSchemaMode, TypeAdapter[Any]]] = [
        (body, mode, TypeAdapter(body)) for body, mode in modes.items()
    ]
    _, document = TypeAdapter.json_schemas(adapters, ref_template=_TEMPLATE, schema_generator=_OpenApiSchemas)
    return {name.removesuffix("Body"): _tidied(schema) for name, schema in document["$defs"].items()}


class _OpenApiSchemas(GenerateJsonSchema):
    """JSON schemas as OpenAPI 3.0 has them, which is older than what pydantic writes.

    See https://spec.openapis.org/oas/v3.0.3#schema-object: null is not a type but `nullable`.
    """

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        return {**({"allOf": [inner]} if "$ref" in inner else inner), "nullable": True}

    def union_schema(self, schema: core_schema.UnionSchema) -> JsonSchemaValue:
        """One of several, which exclude each other in all bodies of ours."""
        made = super().union_schema(schema)
        return {"oneOf" if key == "anyOf" else key: value for key, value in made.items()}

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Fields have no titles: they would repeat the names."""
        return False


def _tidied(schema: Any) -> Any:
    """A schema without the titles of types, which are their names, and with references to those names."""
    if isinstance(schema, list):
        return [_tidied(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    tidied = {
        key: {name: _tidied(one) for name, one in value.items()} if key == "properties" else _tidied(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }
    reference = tidied.get("$ref")
    if isinstance(reference, str):
        tidied["$ref"] = reference.removesuffix("Body")
    return tidied
