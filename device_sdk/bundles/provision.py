"""Handing a bundle to a cloudlet: describe it, send what is missing, wait until it is loaded.

Called by `deploy.py`; calls `st1.py` through the protocol below. Broken off anywhere, it goes on
where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from device_sdk.bundles.bundle import Bundle
from device_sdk.bundles.bundle_wire import BundleProgress
from device_sdk.errors import DeploymentError, RequestError, RootError, SinfoniaError

CHUNK_BYTES = 4 * 1024 * 1024
_CALL_SECONDS = 30.0
_ROUNDS = 3  # a part may be refused for its digest, or layers be gone again, and be sent anew


class BundleServer(Protocol):
    """What is needed of a cloudlet: `cloudlet_calls.CloudletServer`."""

    def open_bundle(self, name: str, description: bytes, timeout: float) -> BundleProgress:
        """Describe it."""

    def put_part(self, name: str, digest: str, offset: int, chunk: bytes, timeout: float) -> int:
        """Send the next bytes of a part; how many are there."""

    def load_bundle(self, name: str, timeout: float) -> BundleProgress:
        """Begin to load it."""

    def bundle_progress(self, name: str, wait_seconds: float, timeout: float) -> BundleProgress:
        """How far it is, after at most so long while it is being loaded."""


def hand_over(
    server: BundleServer,
    bundle: Bundle,
    seconds_left: Callable[[], float],
    told: Callable[[int, int], None] = lambda _sent, _total: None,
) -> None:
    """Make the bundle ready on a cloudlet; nothing is sent that is there.

    `told` hears how many bytes of how many were sent. Raises `DeploymentError` where the cloudlet can't use
    it, and the errors of `errors.py`.
    """
    progress = server.open_bundle(bundle.name, bundle.description, _bounded(seconds_left))
    problem: SinfoniaError = RootError("The cloudlet did not take the bundle in time; once more goes on.")
    for _ in range(_ROUNDS):
        if progress.state == "ready":
            return
        try:
            _send(server, bundle, progress, seconds_left, told)
            progress = server.load_bundle(bundle.name, _bounded(seconds_left))
        except (RequestError, RootError) as error:  # a break, or another sends it too: ask how far it is
            problem = error
            if seconds_left() <= 0:
                raise
        while progress.state == "loading" and seconds_left() > 0:
            wait = min(20.0, seconds_left())
            progress = server.bundle_progress(bundle.name, wait, wait + _CALL_SECONDS)
        if progress.state == "failed":
            reason = progress.reason or "no reason given"
            raise DeploymentError(f"The cloudlet can't use the bundle: {reason}")
        if progress.state != "ready":
            progress = server.bundle_progress(bundle.name, 0.0, _bounded(seconds_left))
    if progress.state != "ready":
        raise problem


def _send(
    server: BundleServer,
    bundle: Bundle,
    progress: BundleProgress,
    seconds_left: Callable[[], float],
    told: Callable[[int, int], None],
) -> None:
    wanted = {digest: offset for digest, offset in progress.missing.items() if digest in bundle.parts}
    total = sum(bundle.sizes[digest] - offset for digest, offset in wanted.items())
    sent = 0
    for digest, offset in wanted.items():
        with bundle.parts[digest]() as file:
            file.seek(offset)
            while (chunk := file.read(CHUNK_BYTES)) and offset < bundle.sizes[digest]:
                if seconds_left() <= 0:
                    raise RootError("The bundle was not handed over in time; once more goes on from there.")
                there = server.put_part(bundle.name, digest, offset, chunk, _bounded(seconds_left))
                if there <= offset:
                    break  # it has lost some: the next round asks how far it is
                file.seek(there)
                sent, offset = sent + there - offset, there
                told(sent, total)


def _bounded(seconds_left: Callable[[], float]) -> float:
    return max(0.1, min(_CALL_SECONDS, seconds_left()))
