"""The contract document as tests use it: schemas to hold values to, and every example that it gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

PATH = Path(__file__).parents[2] / "cloud" / "chalicelib" / "openapi.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(PATH.read_text())
METHODS = ("get", "put", "post", "delete", "patch")
URI = "urn:sinfonia:contract"
REGISTRY: Registry[Any] = Registry().with_resource(
    URI, Resource.from_contents(DOCUMENT, default_specification=DRAFT202012)
)
FORMATS = FormatChecker()


@FORMATS.checks("uri", raises=ValueError)
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or bool(urlsplit(value).scheme and " " not in value)


@dataclass(frozen=True)
class Example:
    """A documented value, the component schema it is of, and where it stands."""

    schema: str
    where: str
    value: Any


@cache
def validator(schema: str) -> Draft202012Validator:
    """What holds values to a component schema, formats included."""
    reference = {"$ref": f"{URI}#/components/schemas/{schema}"}
    return Draft202012Validator(reference, registry=REGISTRY, format_checker=FORMATS)


def problems(schema: str, value: Any) -> list[str]:
    """What is wrong with `value`; nothing if it fits."""
    return [f"{error.json_path}: {error.message}" for error in validator(schema).iter_errors(value)]


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    """What a `$ref` within the document stands for; anything else is itself."""
    while "$ref" in node:
        target: Any = DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, method, operation) of everything that can be called."""
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def contents() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(where, media type, media object) of every body that goes either way."""
    webhooks = [(name, "post", item["post"]) for name, item in DOCUMENT["webhooks"].items()]
    for path, method, operation in [*operations(), *webhooks]:
        if "requestBody" in operation:
            for kind, media in operation["requestBody"]["content"].items():
                yield f"{method.upper()} {path}", kind, media
        for status, response in operation["responses"].items():
            for kind, media in resolve(response).get("content", {}).items():
                yield f"{method.upper()} {path} {status}", kind, media


def examples() -> list[Example]:
    """Every documented example; those of arrays element by element."""
    found: list[Example] = []
    for where, _, media in contents():
        given = {name: example["value"] for name, example in media.get("examples", {}).items()}
        if "example" in media:
            given["example"] = media["example"]
        for name, value in given.items():
            schema = media["schema"]
            if schema.get("type") == "array":
                assert isinstance(value, list)
                found += [Example(_name(schema["items"]), f"{where} {name}", one) for one in value]
            else:
                found.append(Example(_name(schema), f"{where} {name}", value))
    return found


def examples_of(schema: str) -> list[Example]:
    """The documented examples of one component schema, each value once."""
    found: list[Example] = []
    for example in examples():
        if example.schema == schema and example.value not in [other.value for other in found]:
            found.append(example)
    return found


def _name(schema: dict[str, Any]) -> str:
    return str(schema["$ref"]).rsplit("/", 1)[-1]
