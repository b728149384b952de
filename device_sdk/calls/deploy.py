"""The use case: an app on this device wants its backend now.

Called by the app and the command line; calls `call.py` (arguments, and the servers to ask), `keys.py`, and
`asking.py` for each answer. Nothing here waits for the backend: a target can be opened (`tunnel.py`) while it
starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

from device_sdk.bundles.bundle import Bundle
from device_sdk.calls.asking import ask
from device_sdk.calls.call import HELLOWORLD, Call, Parts, Wish, check, traced
from device_sdk.calls.sources import Jit, Sources
from device_sdk.context import Requirements
from device_sdk.errors import TooManyError
from device_sdk.keys import KeyPair, application_key
from device_sdk.nearby.asking import ask_each
from device_sdk.nearby.discovery import Nearby
from device_sdk.nearby.paired import JitTrust, askable, paired_cloudlets
from device_sdk.progress import OnProgress
from device_sdk.target import Target
from device_sdk.wire import MAX_RESULTS, Candidate, DeviceContext, Location

__all__ = ["HELLOWORLD", "Parts", "deploy_backend", "find_cloudlets", "find_deployments"]

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0  # API Gateway gives up after 29


def deploy_backend(
    root_url: str,
    app_uuid: UUID | str,
    *,
    results: int = 1,
    jit: Jit = "prefer",
    jit_trust: JitTrust = "open",
    location: Location | tuple[float, float] | None = None,
    context: DeviceContext | None = None,
    requirements: Requirements | None = None,
    values: Mapping[str, Any] | None = None,
    bundle: Bundle | None = None,
    token: str | None = None,
    measurements: bool = True,
    timeout: float = TIMEOUT_SECONDS,
    on_progress: OnProgress | None = None,
    parts: Parts | None = None,
) -> list[Target]:
    """Get the app's backend deployed, or found again, on up to `results` (1 to 3) cloudlets; the best first.

    `jit` says what to do with cloudlets on the device's own network: `prefer` asks them and the root at
    once and puts them first, `only` does not ask the root if there is one, `off` does not look. `jit_trust`:
    a cloudlet nearby that this device is paired with (`pair`) always has to show who it is; `open` also asks
    others that take anybody, `paired` asks no others.
    `location` is (latitude, longitude) in degrees; `context` tells more about the device; `requirements` is
    what a cloudlet must have. `values` are set over those of the app's recipe, which lists the ones that can
    be; a backend that runs already keeps its own.
    `bundle` is what cloudlets nearby get where none of them has a recipe for the app: recipe, chart, images
    (`Bundle.of`). Only those take it whose operator allows that; sending it counts in `timeout`, and a call
    that ends in the middle goes on there the next time.
    `token` is for apps whose owner asks for one (`SINFONIA_TOKEN` by default).
    `measurements`: whether a tunnel to a target tells the root its round trip. `timeout` bounds the whole
    call, in seconds.

    Returns at least one target; its backend may still be starting. Raises the errors of `errors.py`.
    """
    wish = Wish(app_uuid, results, jit, location, context, requirements, values, jit_trust, bundle)
    call = check(root_url, wish, token, timeout, on_progress, parts)
    return traced(call, lambda: _targets_of(replace(call, measurements=measurements)))


def find_deployments(
    root_url: str,
    app_uuid: UUID | str,
    *,
    results: int = MAX_RESULTS,
    jit: Jit = "prefer",
    jit_trust: JitTrust = "open",
    location: Location | tuple[float, float] | None = None,
    token: str | None = None,
    timeout: float = TIMEOUT_SECONDS,
    on_progress: OnProgress | None = None,
    parts: Parts | None = None,
) -> list[Target]:
    """The backends that this device has for the app already. Raises `NotFoundError` for none."""
    wish = Wish(app_uuid, results, jit, location, jit_trust=jit_trust)
    call = check(root_url, wish, token, timeout, on_progress, parts)
    return traced(call, lambda: _targets_of(replace(call, existing=True)))


def find_cloudlets(
    root_url: str,
    app_uuid: UUID | str,
    *,
    results: int = MAX_RESULTS,
    jit: Jit = "prefer",
    jit_trust: JitTrust = "open",
    location: Location | tuple[float, float] | None = None,
    token: str | None = None,
    timeout: float = TIMEOUT_SECONDS,
    on_progress: OnProgress | None = None,
    parts: Parts | None = None,
) -> list[Candidate]:
    """The cloudlets that `deploy_backend` would ask, the best first; deploys nothing.

    Those on the device's own network come first and have `local_network` set.
    """
    wish = Wish(app_uuid, results, jit, location, jit_trust=jit_trust)
    call = check(root_url, wish, token, timeout, on_progress, parts)

    def ask_root() -> list[Candidate]:
        with call.report.phase("root", root_url):
            return call.root.candidates(
                call.app_uuid, results=results, context=call.context, timeout=call.seconds_left
            )

    def both() -> list[Candidate]:
        return _both(
            call,
            ask_root,
            lambda found: _candidates_nearby(found)[:results],
            lambda one, other: one.uuid == other.uuid,
        )

    return traced(call, both)


def _targets_of(call: Call) -> list[Target]:
    with call.report.phase("key"):
        key = application_key(call.app_uuid, call.parts.keys or call.parts.state)
    return _both(
        call,
        lambda: _ask_root(call, key),
        lambda found: ask_each(call, key, found),
        Target.same_backend,
    )


def _both(
    call: Call,
    ask_root: Callable[[], list[T]],
    ask_nearby: Callable[[list[Nearby]], list[T]],
    same: Callable[[T, T], bool],
) -> list[T]:
    def look_around() -> list[T]:
        with call.report.phase("discovery"):
            found = [n for n in call.parts.discover() if _is_wanted(call.context, n.health.uuid)]
            names = ", ".join(n.health.name or n.base_url for n in found)
            call.report.note("discovery", names or "no cloudlet nearby")
            found, strangers = askable(found, paired_cloudlets(call.parts.state), call.jit_trust)
            for one in strangers:
                call.report.note(
                    "discovery", f"{one.health.name or one.base_url} is not paired: sinfonia pair"
                )
        return ask_nearby(found) if found else []

    sources = Sources(ask_root, look_around, same, call.report.note)
    return sources.ask(call.jit, call.results, lambda: call.seconds_left)


def _ask_root(call: Call, key: KeyPair) -> list[Target]:
    with call.report.phase("root"):
        try:
            return ask(call, key, call.root, results=call.results, timeout=call.seconds_left, jit=False)
        except TooManyError as error:
            advice = error.retry_after_seconds
            if advice is None or advice >= call.seconds_left:
                raise
            call.report.note("root", f"it takes no more calls now; once more in {advice:g} s")
            call.parts.pause(advice)
        return ask(call, key, call.root, results=call.results, timeout=call.seconds_left, jit=False)


def _is_wanted(context: DeviceContext, cloudlet: UUID | None) -> bool:
    return cloudlet not in context.avoid and context.cloudlet in (None, cloudlet)


def _candidates_nearby(found: list[Nearby]) -> list[Candidate]:
    return [
        Candidate(n.health.uuid, f"{n.base_url}/api/v1/deploy", n.health.name, local_network=True)
        for n in found
        if n.health.uuid is not None
    ]
