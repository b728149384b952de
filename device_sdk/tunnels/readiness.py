"""Asking the gateway, through the tunnel, how far the backend is, and giving the backend back.

Called by `tunnel.py`. Plain HTTP over connections that the caller makes; the gateway knows the device by
its tunnel address.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

from device_sdk.background import Pending
from device_sdk.errors import DeploymentError, TunnelError
from device_sdk.fields import WireError, parse_json
from device_sdk.tunnels.routes import StatusAddress
from device_sdk.wire import Deployment

MAX_ANSWER_BYTES = 64 * 1024
LONG_POLL_SECONDS = 10.0
CONNECT_SECONDS = 5.0
PAUSE_SECONDS = 0.2  # between questions to a gateway that does not hold its answers, or does not answer

Connect = Callable[[tuple[str, int], float], socket.socket]


class _Gone(Exception):
    """The gateway has no backend for this device."""


@dataclass(frozen=True)
class Gateway:
    """The cloudlet's end of a tunnel. `connect` makes TCP connections through it."""

    address: StatusAddress
    connect: Connect
    clock: Callable[[], float]

    def wait_ready(self, timeout: float, note: Callable[[str], None]) -> Deployment:
        """Follow the backend until it is ready; `note` hears what it waits for. Seconds for `timeout`.

        Raises `DeploymentError` if it failed, is gone or is not ready in time, `TunnelError` if the
        gateway never answered.
        """
        deadline = self.clock() + timeout
        pause = threading.Event()
        reason, trouble = None, "no answer yet"
        wait = 0.0  # the first answer comes at once, so that there is something to show
        while (left := deadline - self.clock()) > 0:
            asked = self.clock()
            try:
                deployment = self._status(wait, left)
            except _Gone:
                raise DeploymentError("The cloudlet no longer has the backend; deploy it again.") from None
            except (OSError, http.client.HTTPException, WireError) as error:
                trouble = str(error) or type(error).__name__
                pause.wait(min(PAUSE_SECONDS, left))
                continue
            if deployment.status == "Ready":
                return deployment
            if deployment.status == "Failed":
                raise DeploymentError(f"The backend failed: {deployment.reason or 'no reason given'}.")
            reason = deployment.reason or deployment.status
            note(reason)
            if wait and self.clock() - asked < PAUSE_SECONDS:
                pause.wait(min(PAUSE_SECONDS, left))  # this gateway does not hold its answers
            wait = min(LONG_POLL_SECONDS, max(PAUSE_SECONDS, deadline - self.clock()))
        if reason is not None:
            raise DeploymentError(f"The backend was not ready within {timeout:g} s: {reason}.")
        raise TunnelError(f"Nothing answered through the tunnel within {timeout:g} s: {trouble}.")

    def look(self, timeout: float) -> Deployment:
        """How the backend is now. Raises `DeploymentError` where there is none any more, `TunnelError` where
        nothing answers.
        """
        try:
            return self._status(0.0, timeout)
        except _Gone:
            raise DeploymentError("The cloudlet no longer has the backend.") from None
        except (OSError, http.client.HTTPException, WireError) as error:
            raise TunnelError(f"The cloudlet does not answer: {error or type(error).__name__}.") from error

    def release(self, timeout: float) -> None:
        """Tell the gateway that the backend is not needed. Fine if it is gone. Raises `TunnelError`."""
        try:
            status, _ = self._exchange("DELETE", self.address.path, timeout)
        except (OSError, http.client.HTTPException) as error:
            raise TunnelError(f"The backend can't be released: {error or type(error).__name__}.") from error
        if status not in (200, 202, 204, 404):
            raise TunnelError(f"The backend can't be released: the cloudlet says {status}.")

    def _status(self, wait: float, timeout: float) -> Deployment:
        separator = "&" if "?" in self.address.path else "?"
        path = f"{self.address.path}{separator}wait={wait:.3f}"
        status, content = self._exchange("GET", path, min(timeout, wait + CONNECT_SECONDS))
        if status == 404:
            raise _Gone
        if status != 200:
            raise WireError("", f"the cloudlet says {status}")
        return Deployment.from_json(parse_json(content))

    def _exchange(self, method: str, path: str, timeout: float) -> tuple[int, bytes]:
        """One request and its answer, within `timeout` seconds however slowly the other side sends."""
        try:
            return Pending(lambda: self._http(method, path, timeout), "sinfonia-status").result(timeout)
        except TimeoutError:
            raise OSError("the cloudlet's gateway did not answer in time") from None

    def _http(self, method: str, path: str, timeout: float) -> tuple[int, bytes]:
        host, port = self.address.host, self.address.port
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
        connection.sock = self.connect((host, port), min(timeout, CONNECT_SECONDS))
        try:
            connection.sock.settimeout(timeout)
            connection.request(method, path, headers={"Accept": "application/json"})
            with connection.getresponse() as response:
                content = response.read(MAX_ANSWER_BYTES + 1)
        finally:
            connection.close()
        if len(content) > MAX_ANSWER_BYTES:
            raise OSError("the cloudlet's gateway answers with too much data")
        return response.status, content
