"""The cloudlets that were found nearby, asked for a backend; one without a recipe gets what the app brought.

Called by `deploy.py`; calls `asking.py`, and `provision.py` to hand a bundle over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from device_sdk.background import Pending
from device_sdk.bundles.bundle import Bundle
from device_sdk.bundles.provision import hand_over
from device_sdk.calls.asking import ask
from device_sdk.calls.call import Call, NearbyServer
from device_sdk.calls.caller import Caller
from device_sdk.errors import NoCloudletError, NotFoundError, SinfoniaError
from device_sdk.keys import KeyPair
from device_sdk.nearby.discovery import Nearby
from device_sdk.nearby.paired import paired_cloudlets, seal_for
from device_sdk.target import Target

NEARBY_SECONDS = 8.0  # a cloudlet next door that takes longer is none
_MEGABYTE = 1_000_000


def ask_each(call: Call, key: KeyPair, found: Sequence[Nearby]) -> list[Target]:
    """Ask the nearest; each that fails is replaced by the next, and where none has the app, the call's bundle
    is handed to the first that takes it. Raises the last error if all failed.
    """
    left = list(found)
    targets: list[Target] = []
    lacking: list[Nearby] = []
    problem: SinfoniaError = NoCloudletError("No cloudlet nearby could be asked in time.")
    with call.report.phase("nearby"):
        while left and len(targets) < call.results and call.seconds_left > 0:
            wanted = call.results - len(targets)
            asked, left = left[:wanted], left[wanted:]
            seconds = min(NEARBY_SECONDS, call.seconds_left)
            for cloudlet, answer in [(one, _start(call, key, one, seconds)) for one in asked]:
                try:
                    targets += answer.result(seconds + 1)
                except NotFoundError as error:
                    problem = error
                    lacking.append(cloudlet)
                except (SinfoniaError, TimeoutError) as error:
                    problem = error if isinstance(error, SinfoniaError) else problem
    if not targets and call.bundle is not None and lacking:
        return _bring(call, key, lacking, call.bundle)
    if not targets:
        raise problem
    return targets


def _start(call: Call, key: KeyPair, cloudlet: Nearby, seconds: float) -> Pending[list[Target]]:
    server = _server(call, cloudlet)
    return Pending(
        lambda: ask(call, key, server, results=1, timeout=seconds, jit=True, reached=cloudlet.reached),
        "sinfonia-nearby",
    )


def _bring(call: Call, key: KeyPair, lacking: Sequence[Nearby], bundle: Bundle) -> list[Target]:
    """Hand the bundle to one after the other, until one runs it: there may be much to send."""
    problem: SinfoniaError = NoCloudletError("There was no time left to hand the bundle over.")
    with call.report.phase("bundle"):
        for cloudlet in lacking:
            if call.seconds_left <= 0:
                break
            try:
                return [_brought(call, key, cloudlet, bundle)]
            except SinfoniaError as error:
                call.report.note("bundle", str(error))
                problem = error
        raise problem


def _brought(call: Call, key: KeyPair, cloudlet: Nearby, bundle: Bundle) -> Target:
    name, server = cloudlet.health.name or cloudlet.base_url, _server(call, cloudlet)

    def told(sent: int, total: int) -> None:
        call.report.note("bundle", f"{name} has {sent / _MEGABYTE:.1f} of {total / _MEGABYTE:.1f} MB")

    call.report.note("bundle", f"{name} has no recipe; handing the bundle over")
    try:
        hand_over(server, bundle, lambda: call.seconds_left, told)
    except NotFoundError as error:
        raise NotFoundError(
            f"{name} has no recipe for the app, and its operator lets it take none (--take-bundles)."
        ) from error
    with_bundle = replace(call, context=replace(call.context, bundle=bundle.name))
    seconds = max(0.1, min(NEARBY_SECONDS, call.seconds_left))
    return ask(with_bundle, key, server, results=1, timeout=seconds, jit=True, reached=cloudlet.reached)[0]


def _server(call: Call, cloudlet: Nearby) -> NearbyServer:
    uuid, state = cloudlet.health.uuid, call.parts.state
    known = paired_cloudlets(state).get(uuid) if uuid else None
    seal = seal_for(state, known) if known else None
    return call.parts.nearby(cloudlet.base_url, Caller(None, call.trace, seal=seal))
