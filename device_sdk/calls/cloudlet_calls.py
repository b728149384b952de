"""HTTP to a cloudlet that is asked directly: what a root has not, bundles. Made by `call.py`, used by
`provision.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from device_sdk.bundles.bundle_wire import BundleProgress, read_offset
from device_sdk.calls.st1 import Server
from device_sdk.fields import WireError

T = TypeVar("T")

_PATH = "/api/v1/bundles/"


class CloudletServer(Server):
    """A cloudlet at `base_url`."""

    def open_bundle(self, name: str, description: bytes, timeout: float) -> BundleProgress:
        """Describe a bundle; the answer says which of its parts are missing."""
        return self._progress("PUT", name, {}, description, timeout)

    def put_part(self, name: str, digest: str, offset: int, chunk: bytes, timeout: float) -> int:
        """Send the next bytes of a part; returns how many are there. Raises `RequestError` if it has come
        another way.
        """
        path = f"{_PATH}{name}/parts/{digest}"
        headers = {"Upload-Offset": str(offset)}
        return self._read_by(read_offset, self._ask("PUT", path, {}, headers, chunk, timeout))

    def load_bundle(self, name: str, timeout: float) -> BundleProgress:
        """Nothing is missing any more; begin to load it."""
        return self._progress("POST", name, {}, None, timeout)

    def bundle_progress(self, name: str, wait_seconds: float, timeout: float) -> BundleProgress:
        """How far it is, after at most so long while it is being loaded."""
        return self._progress("GET", name, {"wait": f"{wait_seconds:.3f}"}, None, timeout)

    def _progress(
        self, method: str, name: str, query: Mapping[str, str], body: bytes | None, timeout: float
    ) -> BundleProgress:
        answer = self._ask(method, f"{_PATH}{name}", query, {}, body, timeout)
        return self._read_by(BundleProgress.from_json, answer)

    def _read_by(self, parse: Callable[[Any], T], answer: Any) -> T:
        try:
            return parse(answer)
        except WireError as error:
            raise self._nonsense(error) from error
