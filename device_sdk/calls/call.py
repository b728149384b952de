"""One call of an app, checked, with all that it needs: what is asked for, of whom, until when.

Made by `deploy.py` for each of its functions; makes the servers of `st1.py` that the call asks.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID

from device_sdk.bundles.bundle import Bundle
from device_sdk.bundles.provision import BundleServer
from device_sdk.calls.caller import Caller, is_token, new_trace, trace_id
from device_sdk.calls.cloudlet_calls import CloudletServer
from device_sdk.calls.sources import Jit
from device_sdk.calls.st1 import Server
from device_sdk.context import Requirements
from device_sdk.errors import RequestError, SinfoniaError
from device_sdk.fields import WireError, integer, number, uuid
from device_sdk.keys import state_folder
from device_sdk.nearby.discovery import Nearby, discover
from device_sdk.nearby.paired import JitTrust
from device_sdk.progress import OnProgress, Reporter
from device_sdk.tunnels.routes import Route
from device_sdk.tunnels.surroundings import own_networks
from device_sdk.wire import MAX_RESULTS, Candidate, Deployment, DeviceContext, Location, Measurement

T = TypeVar("T")

HELLOWORLD = UUID(int=0)


class DeployServer(Protocol):
    """What is needed of a root or a cloudlet: `st1.Server`."""

    def deploy(
        self, app_uuid: UUID, key_segment: str, *, results: int, context: DeviceContext, timeout: float
    ) -> list[Deployment]:
        """Deploy, or find again."""

    def deployments(
        self, app_uuid: UUID, key_segment: str, *, results: int, context: DeviceContext, timeout: float
    ) -> list[Deployment]:
        """Find without deploying."""

    def candidates(
        self, app_uuid: UUID, *, results: int, context: DeviceContext, timeout: float
    ) -> list[Candidate]:
        """The cloudlets that a deploy would ask."""

    def measured(self, app_uuid: UUID, measurement: Measurement, timeout: float) -> None:
        """Take note of what was measured to a cloudlet."""

    def keep(self, app_uuid: UUID, key_segment: str, cloudlet: UUID | None, timeout: float) -> None:
        """Let go of what is deployed for the app and key, but for what is on this cloudlet."""


class NearbyServer(DeployServer, BundleServer, Protocol):
    """What is needed of a cloudlet nearby: `cloudlet_calls.CloudletServer`."""


def _neighbour(url: str, caller: Caller) -> NearbyServer:
    return CloudletServer(url, caller, "cloudlet nearby", proxies=False)


@dataclass(frozen=True)
class Parts:
    """The world outside, replaceable. `state` is the folder that holds the device's keys; `keys` has those of
    the apps, where they are another device's.
    """

    state: Path
    root: Callable[[str, Caller], DeployServer] = Server
    nearby: Callable[[str, Caller], NearbyServer] = _neighbour
    discover: Callable[[], list[Nearby]] = discover
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], object] = threading.Event().wait
    trace: Callable[[], str] = new_trace
    keys: Path | None = None
    networks: Callable[[], Sequence[Route]] = own_networks


@dataclass(frozen=True)
class Wish:
    """What an app asks for, as it came."""

    app_uuid: UUID | str
    results: int
    jit: Jit
    location: Location | tuple[float, float] | None
    context: DeviceContext | None = None
    requirements: Requirements | None = None
    values: Mapping[str, Any] | None = None
    jit_trust: JitTrust = "open"
    bundle: Bundle | None = None


@dataclass(frozen=True)
class Call:
    """One call, checked. `deadline` is on the clock of `parts`; `existing` asks without deploying;
    `bundle` is for cloudlets nearby that have no recipe.
    """

    root: DeployServer
    app_uuid: UUID
    results: int
    jit: Jit
    context: DeviceContext
    deadline: float
    report: Reporter
    parts: Parts
    trace: str
    measurements: bool = False
    existing: bool = False
    jit_trust: JitTrust = "open"
    bundle: Bundle | None = None

    @property
    def seconds_left(self) -> float:
        """Until the deadline; never negative."""
        return max(0.0, self.deadline - self.parts.clock())


def check(
    root_url: str,
    wish: Wish,
    token: str | None,
    timeout: float,
    on_progress: OnProgress | None,
    parts: Parts | None,
) -> Call:
    """The call of an app, its arguments held to the contract; raises `RequestError`."""
    parts = parts or Parts(state_folder(os.environ))
    try:
        integer(wish.results, "results", 1, MAX_RESULTS)
        number(timeout, "timeout", 0.001, 3600)
        # What the app says of its device is held to the contract before it is sent.
        context = DeviceContext.from_json(_context(wish).to_json())
        app = wish.app_uuid if isinstance(wish.app_uuid, UUID) else _app(wish.app_uuid)
    except (WireError, TypeError) as error:
        raise RequestError(f"{error}.") from error
    if wish.jit not in ("prefer", "only", "off"):
        raise RequestError("jit: must be prefer, only or off.")
    if wish.bundle is not None and wish.bundle.app_uuid != app:
        raise RequestError(f"bundle: is for the app {wish.bundle.app_uuid}, not for {app}.")
    if wish.jit_trust not in ("open", "paired"):
        raise RequestError("jit_trust: must be open or paired.")
    token = token or os.environ.get("SINFONIA_TOKEN") or None
    if token is not None and not is_token(token):
        raise RequestError("token: must be visible ASCII without blanks; look for a stray line end.")
    report, trace = Reporter(on_progress, parts.clock), parts.trace()
    report.note("trace", trace_id(trace))
    root = parts.root(root_url, Caller(token, trace, lambda text: report.note("root", text)))
    deadline = parts.clock() + timeout
    call = Call(root, app, wish.results, wish.jit, context, deadline, report, parts, trace)
    return replace(call, jit_trust=wish.jit_trust, bundle=wish.bundle)


def _context(wish: Wish) -> DeviceContext:
    context, place = wish.context or DeviceContext(), wish.location
    if place is not None:
        place = place if isinstance(place, Location) else Location(*place)
        context = replace(context, location=place)
    if wish.values is not None:
        context = replace(context, values=wish.values)
    return replace(context, requirements=wish.requirements) if wish.requirements else context


def traced(call: Call, ask: Callable[[], list[T]]) -> list[T]:
    """Errors carry the trace under which root and cloudlets logged the call."""
    try:
        return ask()
    except SinfoniaError as error:
        error.trace_id = trace_id(call.trace)
        raise


def _app(text: str) -> UUID:
    return HELLOWORLD if text == "helloworld" else uuid(text, "app")
