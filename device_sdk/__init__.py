"""Sinfonia's device SDK: the backend of an app, on the best nearby cloudlet, in one call.

::

    from device_sdk import deploy_backend, open_tunnel

    target = deploy_backend("https://root.example.org", "00000000-0000-0000-0000-000000000000")[0]
    with open_tunnel(target) as tunnel:
        tunnel.wait_ready()
        tunnel.run(["curl", "http://helloworld/"])

`find_cloudlets` looks without deploying, `release` gives a backend back, `aio` has the same for asyncio. All
errors are `SinfoniaError`s, whose tree `errors` draws. What is here is the whole API; each name's module is
imported when it is first asked for.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the module `typing` would be most of what this import costs
if TYPE_CHECKING:
    from typing import Any

    from device_sdk.associating.associate import associate
    from device_sdk.associating.association import Association
    from device_sdk.associating.events import AssociationEvent
    from device_sdk.associating.vitals import Patience
    from device_sdk.bundles.bundle import Bundle
    from device_sdk.calls.call import HELLOWORLD
    from device_sdk.calls.deploy import deploy_backend, find_cloudlets, find_deployments
    from device_sdk.choosing.choose import choose, custom
    from device_sdk.choosing.result import Chosen, Measured
    from device_sdk.choosing.trial import Trial
    from device_sdk.context import DeviceContext, Hardware, Location, Network, Requirements
    from device_sdk.device.gathering import device_context
    from device_sdk.errors import (
        DeploymentError,
        DeviceError,
        InUseError,
        NoCloudletError,
        NotFoundError,
        RequestError,
        RootError,
        SinfoniaError,
        TooManyError,
        TrustError,
        TunnelError,
    )
    from device_sdk.nearby.paired import PairedCloudlet
    from device_sdk.nearby.pairing import pair
    from device_sdk.progress import Event, Timings
    from device_sdk.target import Target
    from device_sdk.tunnels.tunnel import Tunnel, open_tunnel, release
    from device_sdk.wire import Candidate, Service, ServicePort

__version__ = "0.1.0"

_MODULES = {
    "associating.associate": "associate",
    "associating.association": "Association",
    "associating.events": "AssociationEvent",
    "associating.vitals": "Patience",
    "bundles.bundle": "Bundle",
    "calls.call": "HELLOWORLD",
    "choosing.choose": "choose custom",
    "choosing.result": "Chosen Measured",
    "choosing.trial": "Trial",
    "context": "DeviceContext Hardware Location Network Requirements",
    "calls.deploy": "deploy_backend find_cloudlets find_deployments",
    "device.gathering": "device_context",
    "errors": "DeploymentError DeviceError InUseError NoCloudletError NotFoundError RequestError RootError "
    "SinfoniaError TooManyError TrustError TunnelError",
    "nearby.paired": "PairedCloudlet",
    "nearby.pairing": "pair",
    "progress": "Event Timings",
    "target": "Target",
    "tunnels.tunnel": "Tunnel open_tunnel release",
    "wire": "Candidate Service ServicePort",
}
_WHERE = {name: f"device_sdk.{module}" for module, names in _MODULES.items() for name in names.split()}

__all__ = [
    "HELLOWORLD",
    "Association",
    "AssociationEvent",
    "Bundle",
    "Candidate",
    "Chosen",
    "DeploymentError",
    "DeviceContext",
    "DeviceError",
    "Event",
    "Hardware",
    "InUseError",
    "Location",
    "Measured",
    "Network",
    "NoCloudletError",
    "NotFoundError",
    "PairedCloudlet",
    "Patience",
    "RequestError",
    "Requirements",
    "RootError",
    "Service",
    "ServicePort",
    "SinfoniaError",
    "Target",
    "Timings",
    "TooManyError",
    "Trial",
    "TrustError",
    "Tunnel",
    "TunnelError",
    "__version__",
    "associate",
    "choose",
    "custom",
    "deploy_backend",
    "device_context",
    "find_cloudlets",
    "find_deployments",
    "open_tunnel",
    "pair",
    "release",
]


def __getattr__(name: str) -> Any:
    """The public `name`, from its module (PEP 562)."""
    from importlib import import_module

    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_WHERE[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
