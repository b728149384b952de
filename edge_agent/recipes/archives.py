"""Charts' archives, looked through and unpacked before Helm sees them. Called by `charts.py`, `recipes.py`.

A chart is a stranger's. So its archive is unpacked here, within bounds, as plain files and folders only, and
Helm gets the folder: what Helm's own unpacking would make of links, paths or bombs never matters. Charts
within the chart are unpacked the same way. What is cluster-wide (`crds/`) is refused by name, and so is a
schema that refers to another document: Helm would fetch that, from wherever this machine can reach.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from edge_agent.errors import RecipeUnusable, Unavailable

MAX_ARCHIVE_BYTES = 8 * 1024 * 1024
_MAX_UNPACKED_BYTES = 32 * 1024 * 1024
_MAX_MEMBERS = 2000
_MAX_SCHEMA_BYTES = 1024 * 1024
_MAX_DEPTH = 4
_MAX_PATH = 255
_SCHEMA = "values.schema.json"
_DIALECT = ("http://json-schema.org/", "https://json-schema.org/")


def digest_of(path: Path) -> str:
    """`sha256:…` of a chart's archive; raises `RecipeUnusable` for a folder, which has none."""
    if path.is_dir():
        raise RecipeUnusable("The recipe gives its chart's digest; the chart must be an archive then.")
    return f"sha256:{hashlib.sha256(_read(path)).hexdigest()}"


def unpack(path: Path, folder: Path) -> Path:
    """The chart of an archive as a folder within `folder`; raises `RecipeUnusable`."""
    chart = _Unpacking(folder).unpack(_read(path), PurePosixPath())
    return folder / chart


def check_schemas(chart: Path) -> None:
    """Raise `RecipeUnusable` where a schema in the folder refers to another document."""
    for path in chart.rglob(_SCHEMA):
        try:
            with path.open("rb") as file:
                schema = json.loads(file.read(_MAX_SCHEMA_BYTES))
            foreign = next((link for link in _links(schema) if not _is_own(link)), None)
        except (OSError, ValueError, RecursionError) as error:
            raise RecipeUnusable(f"The chart's {_SCHEMA} can't be read.") from error
        if foreign is not None:
            raise RecipeUnusable(f"The chart's {_SCHEMA} refers to {foreign[:200]!r}; it must be complete.")


class _Unpacking:
    """One chart on its way to the disk, with what is left of its bounds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bytes = _MAX_UNPACKED_BYTES
        self._members = _MAX_MEMBERS

    def unpack(self, data: bytes, below: PurePosixPath, depth: int = 0) -> PurePosixPath:
        """Write an archive's files below a path; returns the path of the one folder that it has."""
        if depth > _MAX_DEPTH:
            raise RecipeUnusable(f"The chart has charts within charts, {depth} deep.")
        tops = set()
        try:
            plain: Any = _Bounded(gzip.GzipFile(fileobj=io.BytesIO(data)), self._spend)
            with tarfile.open(fileobj=plain, mode="r|") as archive:
                for member in archive:
                    tops.add(self._take(archive, member, below, depth))
        except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as error:
            raise RecipeUnusable(f"The chart's archive can't be unpacked: {_short(error)}.") from error
        if len(tops) != 1:
            raise RecipeUnusable("The chart's archive must hold one folder, the chart.")
        return below / tops.pop()

    def _take(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, below: PurePosixPath, depth: int
    ) -> str:
        self._members -= 1
        if self._members < 0:
            raise RecipeUnusable(f"The chart's archive has more than {_MAX_MEMBERS} files.")
        path = _checked_path(member.name)
        if member.isdir():
            self._make(below / path)
        elif not member.isreg() or member.issparse():
            raise RecipeUnusable(f"The chart's archive has {path} as a link or device; it may have files.")
        elif len(path.parts) < 2:
            raise RecipeUnusable(f"The chart's archive has the file {path} outside of the chart's folder.")
        elif _of_chart(path)[:1] == ("crds",):
            raise RecipeUnusable(
                f"The chart brings {path}: resource definitions are of the whole cluster; guests get none."
            )
        else:
            file = archive.extractfile(member)
            self._keep(file.read() if file else b"", below / path, depth)
        return path.parts[0]

    def _keep(self, data: bytes, path: PurePosixPath, depth: int) -> None:
        if path.name == ".helmignore":  # archives' are not obeyed, folders' are
            return
        if path.parent.name == "charts" and path.suffix == ".tgz":
            self.unpack(data, path.parent, depth + 1)
            return
        self._make(path.parent)
        (self._folder / path).write_bytes(data)

    def _make(self, path: PurePosixPath) -> None:
        (self._folder / path).mkdir(parents=True, exist_ok=True)

    def _spend(self, count: int) -> None:
        self._bytes -= count
        if self._bytes < 0:
            raise RecipeUnusable(f"The chart's archive unpacks to more than {_MAX_UNPACKED_BYTES} bytes.")


class _Bounded:
    """What a tar file is read from, every byte being accounted for."""

    def __init__(self, plain: gzip.GzipFile, spend: Any) -> None:
        self._plain = plain
        self._spend = spend

    def read(self, size: int) -> bytes:
        """As of a file; whoever reads a stream asks for a block at a time."""
        data = self._plain.read(size)
        self._spend(len(data))
        return data


def _checked_path(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    clean = name.isprintable() and "\\" not in name and len(name) <= _MAX_PATH
    if not clean or path.is_absolute() or ".." in path.parts or not path.parts:
        raise RecipeUnusable(f"The chart's archive has the path {name[:80]!r}, which leads out of it.")
    return path


def _of_chart(path: PurePosixPath) -> tuple[str, ...]:
    """The path within the innermost chart: what stands behind `<chart>/` and each `charts/<chart>/`."""
    parts = path.parts[1:]
    while parts[:1] == ("charts",):
        parts = parts[2:]
    return parts


def _links(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("$ref", "$schema", "$dynamicRef", "$recursiveRef") and isinstance(inner, str):
                yield f"{'' if name != '$schema' or not inner.startswith(_DIALECT) else '#'}{inner}"
            else:
                yield from _links(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _links(inner)


def _is_own(link: str) -> bool:
    return link.startswith("#")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_ARCHIVE_BYTES + 1)
    except OSError as error:
        raise Unavailable(f"The chart can't be read: {error.strerror}.") from error
    if len(data) > MAX_ARCHIVE_BYTES:
        raise RecipeUnusable(f"The chart is larger than {MAX_ARCHIVE_BYTES} bytes.")
    return data


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
