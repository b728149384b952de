"""Roots and cloudlets that live in the test: what `device_sdk.calls.deploy` needs of a server."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from device_sdk.calls.caller import Caller
from device_sdk.errors import RootError
from device_sdk.wire import Candidate, Deployment, DeviceContext, Measurement
from tests.fakes.device_sdk_server import deployment, tunnel_config


class FakeServer:
    """Answers with `deployments` (JSON, the key filled in), or raises `error`; `hang` holds answers back.

    The first calls raise `errors`, one each.
    """

    def __init__(
        self,
        *deployments: dict[str, Any],
        error: Exception | None = None,
        candidates: tuple[Candidate, ...] = (),
        hang: threading.Event | None = None,
        errors: Sequence[Exception] = (),
    ) -> None:
        self.errors = list(errors)
        self.answers, self.error, self.offered, self.hang = deployments, error, candidates, hang
        self.apps: set[UUID] = set()
        self.measurements: list[Measurement] = []
        self.kept: list[tuple[str, UUID | None]] = []
        self.caller = Caller()
        self.calls: list[tuple[str, int, DeviceContext]] = []

    def deploy(
        self, app_uuid: UUID, key_segment: str, *, results: int, context: DeviceContext, timeout: float
    ) -> list[Deployment]:
        return self._answer("deploy", app_uuid, key_segment, results, context, timeout)

    def deployments(
        self, app_uuid: UUID, key_segment: str, *, results: int, context: DeviceContext, timeout: float
    ) -> list[Deployment]:
        return self._answer("deployments", app_uuid, key_segment, results, context, timeout)

    def candidates(
        self, app_uuid: UUID, *, results: int, context: DeviceContext, timeout: float
    ) -> list[Candidate]:
        self._heard("candidates", app_uuid, results, context, timeout)
        return list(self.offered[:results])

    def measured(self, app_uuid: UUID, measurement: Measurement, timeout: float) -> None:
        self.measurements.append(measurement)
        self._heard("measured", app_uuid, 1, DeviceContext(), timeout)

    def keep(self, app_uuid: UUID, key_segment: str, cloudlet: UUID | None, timeout: float) -> None:
        self.kept.append((key_segment, cloudlet))
        self._heard("keep", app_uuid, 1, DeviceContext(), timeout)

    def _answer(
        self,
        call: str,
        app_uuid: UUID,
        key_segment: str,
        results: int,
        context: DeviceContext,
        timeout: float,
    ) -> list[Deployment]:
        self._heard(call, app_uuid, results, context, timeout)
        key = key_segment.replace("-", "+").replace("_", "/") + "="
        return [Deployment.from_json({"ApplicationKey": key, **answer}) for answer in self.answers]

    def _heard(self, call: str, app_uuid: UUID, results: int, context: DeviceContext, timeout: float) -> None:
        self.apps.add(app_uuid)
        self.calls.append((call, results, context))
        if self.hang is not None and not self.hang.wait(timeout):
            raise RootError("The root did not answer in time.")
        if self.errors:
            raise self.errors.pop(0)
        if self.error is not None:
            raise self.error


def at(name: str, number: int, **changes: Any) -> dict[str, Any]:
    """A deployment at the cloudlet `name`, different from those with another `number`; without a key."""
    made = deployment(
        Cloudlet={"UUID": str(UUID(int=number)), "Name": name},
        TunnelConfig=tunnel_config(endpoint=f"192.0.2.{number}:51820", publicKey=_key(number)),
        **changes,
    )
    return made if "ApplicationKey" in changes else {k: v for k, v in made.items() if k != "ApplicationKey"}


def _key(number: int) -> str:
    return base64.b64encode(bytes([number] * 32)).decode()


def always(server: FakeServer) -> Callable[[str, Caller], FakeServer]:
    """The same server at every URL; it keeps who asked last."""

    def made(_url: str, caller: Caller) -> FakeServer:
        server.caller = caller
        return server

    return made
