"""How images are called: one image has several names, and runtimes list it by the longest. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable


def listed(images: Iterable[str], names: Collection[str]) -> frozenset[str]:
    """Those of `images`, as charts name them, that a runtime lists under `names`."""
    known = set(names)
    return frozenset(image for image in images if known & set(spellings(image)))


def spellings(image: str) -> list[str]:
    """The full names that a reference may stand for: with registry, and with tag or digest."""
    name, _, digest = image.partition("@")
    head, slash, tail = name.rpartition("/")
    tail, _, tag = tail.partition(":")
    suffix = f"@{digest}" if digest else f":{tag or 'latest'}"
    path = f"{head}{slash}{tail}{suffix}"
    first = path.partition("/")[0]
    if "/" in path and ("." in first or ":" in first or first == "localhost"):
        return [path]
    return [f"docker.io/{'' if '/' in path else 'library/'}{path}", f"localhost/{path}"]
