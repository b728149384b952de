"""Taking bundles: what is missing of one, its parts as they come, its images into the runtime. Called by
`bundle_api.py` and, for what is there, by `recipes.py`; calls `bundle_folder.py`, `blobs.py`, `layouts.py`
and the runtime's images.

    (none) ── open ──> receiving ── finish ──> loading ──> ready ──(unused for a day)──> (none)
                           ├───────<── failed ──┘            │
                           └───────<──(an image is gone)─────┘

A bundle's images get names of their own in the runtime, so that none takes the place of an image that
something else uses. Layers that the runtime has are not asked for.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from edge_agent.errors import AgentError, InvalidRequest, NotFound, Unavailable
from edge_agent.fields import parse_digest
from edge_agent.provisioning.blobs import Blobs
from edge_agent.provisioning.bundle import Bundle
from edge_agent.provisioning.bundle_folder import BundleFolder
from edge_agent.provisioning.layouts import PREFIX, lay_out, parts_here, unpacked_bytes

_LOG = logging.getLogger(__name__)

UNUSED_SECONDS = 24 * 3600.0
"""A bundle that no deployment was made of for so long goes, with its images."""
_RECEIVING_SECONDS = 3600.0
_MAX_BUNDLES = 64
_WAITERS = 8


class Images(Protocol):
    """The runtime's images. Every method may raise `Unavailable`."""

    def layers(self) -> frozenset[str]:
        """The digests of the layers that it has, as they travel."""

    def present(self, names: Collection[str]) -> frozenset[str]:
        """Those of the names under which it has an image."""

    def load(self, layout: Path, name: str) -> None:
        """Take the one image of an OCI layout under this name; layers that it has may be left out.

        Raises `DeployFailed`.
        """

    def remove(self, names: Sequence[str]) -> None:
        """Forget images; unknown ones are fine."""


@dataclass(frozen=True)
class Progress:
    """How far a bundle is: `receiving`, `loading`, `ready` or `failed`, and why; `missing` has the digests of
    the parts that are, with the number of bytes that are there.
    """

    state: str
    missing: Mapping[str, int]
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """The `BundleProgress` object."""
        missing = [{"digest": digest, "offset": offset} for digest, offset in self.missing.items()]
        return {"state": self.state, "missing": missing, **({"reason": self.reason} if self.reason else {})}


@dataclass(frozen=True)
class Provisioned:
    """A bundle that is ready: its recipe, its chart, and its images: the chart's names to those here."""

    recipe: bytes
    chart: Path
    images: Mapping[str, str]


class Bundles:
    """The bundles of this cloudlet, at most `limit_bytes` of them in all, unpacked. Safe between threads.

    `later` does a job in the background; `wall` is seconds since 1970, because bundles outlive the process.
    """

    def __init__(
        self,
        folder: Path,
        blobs: Blobs,
        images: Images,
        limit_bytes: int,
        later: Callable[[Callable[[], None]], None],
        wall: Callable[[], float],
    ) -> None:
        self._folder = BundleFolder(folder, wall)
        self._blobs = blobs
        self._images = images
        self._limit = limit_bytes
        self._later = later
        self._waiters = threading.BoundedSemaphore(_WAITERS)
        self._one_by_one = threading.Lock()  # so that what is left is known
        self._changed = threading.Condition()
        self._loading: set[str] = set()
        self._failed: dict[str, str] = {}

    def open(self, name: str, description: bytes) -> Progress:
        """Begin with a bundle, or go on; raises `InvalidRequest`, or `Unavailable` where it has no room."""
        bundle = Bundle.read(name, description)
        if sum(bundle.blobs().values()) > self._limit:
            raise InvalidRequest(f"body: the bundle is larger than the {self._limit} bytes that are taken")
        try:
            self._forget_pruned([self._folder.read(name)])
        except NotFound:
            self._make_room()
            self._folder.begin(name, description)
        return self.progress(name)

    def progress(self, name: str, wait_seconds: float = 0.0) -> Progress:
        """How far it is, after at most so long while it is loading; raises `NotFound`.

        Where too many wait already, the answer comes at once.
        """
        bundle = self._folder.read(name)
        self._await_loaded(name, wait_seconds)
        with self._changed:
            if name in self._loading:
                return Progress("loading", {})
            failed = self._failed.get(name)
        if self._folder.chart(name):
            return Progress("ready", {})
        missing = self._missing(bundle)
        return Progress("failed", missing, failed) if failed else Progress("receiving", missing)

    def put(self, name: str, digest: str, offset: int, chunk: bytes) -> int:
        """Add bytes of a part; return how many are there. Raises what `Blobs.append` does, and `NotFound`."""
        size = self._folder.read(name).blobs().get(parse_digest(digest, "part"))
        if size is None:
            raise NotFound("The bundle has no such part.")
        self._folder.touch(name)
        return self._blobs.append(digest, size, offset, chunk)

    def finish(self, name: str) -> Progress:
        """Begin to load it, if nothing is missing; return how far it is."""
        before = self.progress(name)
        if before.state in ("receiving", "failed") and not before.missing:
            bundle = self._folder.read(name)
            with self._changed:
                if name not in self._loading:
                    self._failed.pop(name, None)
                    self._loading.add(name)
                    self._later(lambda: self._load(bundle))
        return self.progress(name)

    def get(self, name: str, app: UUID) -> Provisioned:
        """A bundle of this app that is ready, for a deployment; raises `NotFound`, or `Unavailable`."""
        bundle = self._folder.read(name)
        if bundle.app != app:
            raise NotFound("The bundle is another app's.")
        self._forget_pruned([bundle])
        chart = self._folder.chart(name)
        if chart is None:
            raise NotFound("The bundle is not complete.")
        self._folder.touch(name)
        return Provisioned(bundle.recipe, chart, _names(bundle))

    def sweep(self, used: Collection[str]) -> None:
        """Let go what nobody uses: old bundles but the `used` ones, their images, parts that were given up,
        and what a crash left.
        """
        try:
            self._forget_pruned(self._described())
        except Unavailable as error:  # the next sweep looks again
            _LOG.warning("the images can't be listed", extra={"reason": str(error)})
        wanted: set[str] = set()
        for name in self._folder.names():
            ready = self._folder.chart(name) is not None
            old = UNUSED_SECONDS if ready else _RECEIVING_SECONDS
            if name not in used and name not in self._loading and self._folder.age_seconds(name) > old:
                self._remove(name)
            elif not ready:
                wanted |= self._parts(name)
        self._blobs.drop_older(_RECEIVING_SECONDS, wanted)
        self._folder.remove_rests(_RECEIVING_SECONDS)

    def _described(self) -> list[Bundle]:
        found = []
        for name in self._folder.names():
            with suppress(NotFound):  # damaged, or just removed
                found.append(self._folder.read(name))
        return found

    def _forget_pruned(self, bundles: Sequence[Bundle]) -> None:
        """Who tidied images up took them from bundles too: those can be sent again."""
        ready = [bundle for bundle in bundles if self._folder.chart(bundle.name) and bundle.images]
        wanted = {bundle.name: set(_names(bundle).values()) for bundle in ready}
        present = self._images.present(set().union(*wanted.values())) if ready else frozenset()
        for name, images in wanted.items():
            if not images <= present:
                _LOG.warning("a bundle's images are gone", extra={"bundle": name})
                self._folder.unready(name)

    def _await_loaded(self, name: str, seconds: float) -> None:
        if seconds > 0 and self._waiters.acquire(blocking=False):
            try:
                with self._changed:
                    self._changed.wait_for(lambda: name not in self._loading, seconds)
            finally:
                self._waiters.release()

    def _missing(self, bundle: Bundle) -> dict[str, int]:
        lacking = {part for part in bundle.blobs() if not self._blobs.has(part)}
        if lacking & bundle.layers():
            lacking -= bundle.layers() & self._images.layers()
        return {part: self._blobs.offset(part) for part in bundle.blobs() if part in lacking}

    def _load(self, bundle: Bundle) -> None:
        reason = "The cloudlet could not load it; its log says more."
        try:
            with self._one_by_one:
                self._take(bundle)
            reason = ""
        except AgentError as error:
            reason = str(error)
        finally:
            if reason:
                _LOG.warning("bundle refused", extra={"bundle": bundle.name, "reason": reason})
            with self._changed:
                self._loading.discard(bundle.name)
                if reason:
                    self._failed[bundle.name] = reason
                self._changed.notify_all()

    def _take(self, bundle: Bundle) -> None:
        """Give the images to the runtime, all or none of them, and keep the chart."""
        parts = {part.digest for image in bundle.images for part in parts_here(image, self._blobs)}
        left = self._limit - self._folder.taken_bytes()
        unpacked = unpacked_bytes([self._blobs.path(digest) for digest in parts], left)
        self._folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            for image in bundle.images:
                with tempfile.TemporaryDirectory(prefix=PREFIX, dir=self._folder.path) as layout:
                    lay_out(image, self._blobs, Path(layout))
                    self._images.load(Path(layout), _names(bundle)[image.name])
        except BaseException:
            self._images.remove(list(_names(bundle).values()))
            raise
        self._folder.keep(bundle.name, self._blobs.path(bundle.chart.digest).read_bytes(), unpacked)
        self._blobs.drop(set(bundle.blobs()) - self._awaited_by_others(bundle))
        _LOG.info("bundle taken", extra={"bundle": bundle.name, "app": str(bundle.app)})

    def _awaited_by_others(self, bundle: Bundle) -> set[str]:
        """The parts that bundles wait for which are not ready."""
        others = [name for name in self._folder.names() if name != bundle.name]
        return {part for name in others if not self._folder.chart(name) for part in self._parts(name)}

    def _parts(self, name: str) -> set[str]:
        try:
            return set(self._folder.read(name).blobs())
        except NotFound:  # damaged, or just removed
            return set()

    def _make_room(self) -> None:
        names = self._folder.names()
        receiving = [name for name in names if not self._folder.chart(name)]
        if len(receiving) >= _MAX_BUNDLES or len(names) >= 4 * _MAX_BUNDLES:
            raise Unavailable("The cloudlet keeps as many bundles as it can.", 300)

    def _remove(self, name: str) -> None:
        try:
            self._images.remove(list(_names(self._folder.read(name)).values()))
        except NotFound:
            _LOG.warning("a bundle's description is damaged", extra={"bundle": name})
        self._folder.remove(name)


def _names(bundle: Bundle) -> dict[str, str]:
    """What the bundle's images are called here."""
    return {
        image.name: f"localhost/sinfonia-bundle/{bundle.hex}:{number}"
        for number, image in enumerate(bundle.images)
    }
