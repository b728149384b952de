"""One server asked once, and the targets in its answer.

Called by `deploy.py` for the root and by `nearby/asking.py` for cloudlets nearby; calls `target.py`, which
judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from device_sdk.calls.call import Call, DeployServer
from device_sdk.calls.caller import trace_id
from device_sdk.errors import DeploymentError, RootError, SinfoniaError
from device_sdk.fields import WireError
from device_sdk.keys import KeyPair
from device_sdk.target import Keep, Target, Tell
from device_sdk.tunnels.routes import Reached
from device_sdk.wire import Deployment, Measurement

MEASURED_SECONDS = 10.0
KEEP_SECONDS = 5.0


def ask(
    call: Call,
    key: KeyPair,
    server: DeployServer,
    *,
    results: int,
    timeout: float,
    jit: bool,
    reached: Reached | None = None,
) -> list[Target]:
    """At least one target of `server`, at most `results`; `reached` says how a cloudlet nearby is asked.
    Raises the errors of `errors.py`.
    """
    question = server.deployments if call.existing else server.deploy
    answer = question(call.app_uuid, key.path_segment, results=results, context=call.context, timeout=timeout)
    return _targets(answer, call, key, reached, jit=jit)[:results]


def _targets(
    deployments: Sequence[Deployment], call: Call, key: KeyPair, reached: Reached | None, *, jit: bool
) -> list[Target]:
    """The targets that can be used. A cloudlet that answers nonsense must not cost the others' answers."""
    targets: list[Target] = []
    own = call.parts.networks()
    problem: SinfoniaError = RootError("The answer names no target.")
    for deployment in deployments:
        try:
            target = Target.of(deployment, call.app_uuid, key, jit=jit, own=own, reached=reached)
            keep = None if jit else _keeper(call, key)
            target = replace(target, trace_id=trace_id(call.trace), measured=_teller(call, target), keep=keep)
        except WireError as error:
            problem = RootError(f"The answer can't be used: {error}.")
            continue
        if target.status == "Failed":
            problem = DeploymentError(f"The backend failed: {deployment.reason or 'no reason given'}.")
        else:
            targets.append(target)
    if not targets:
        raise problem
    return targets


def _keeper(call: Call, key: KeyPair) -> Keep:
    """What tells the root that one of its targets is enough."""

    def keep(cloudlet: UUID | None) -> None:
        call.root.keep(call.app_uuid, key.path_segment, cloudlet, KEEP_SECONDS)

    return keep


def _teller(call: Call, target: Target) -> Tell | None:
    """What tells the root how the way to a cloudlet is that it chose."""
    cloudlet = target.cloudlet
    if target.jit or cloudlet is None or not call.measurements:
        return None

    def tell(seconds: float, throughput_mbps: float | None = None) -> None:
        measurement = Measurement(cloudlet.uuid, seconds * 1000, throughput_mbps)
        call.root.measured(call.app_uuid, measurement, MEASURED_SECONDS)

    return tell
