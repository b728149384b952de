"""CAMARA's Simple Edge Discovery (1 and 2) and Application Endpoint Discovery (0.1), on their standard paths.

Registered by `app.py`; calls the same search and choice that a deploy goes by, within the same limits, and
with the tokens that apps want of their devices.

Sources: camaraproject/SimpleEdgeDiscovery r1.3 and r2.3, camaraproject/ApplicationEndpointDiscovery
0.1.0-rc.1.
"""

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from chalice.app import Response

from chalicelib.camara import devices, zones
from chalicelib.camara.problems import CamaraProblem, camara_answer
from chalicelib.choosing.matching import ClientInfo
from chalicelib.errors import InvalidRequest, NoCloudlet
from chalicelib.incoming import client_address, header_location, json_body, parameter
from chalicelib.lambda_app import RootViews, View
from chalicelib.views.answers import answer
from chalicelib.views.callers import check_device

_CORRELATOR = re.compile(r"[a-zA-Z0-9\-_:;./<>{}]{0,256}")
_VERSIONS = frozenset(
    {"v0.1", "v0.1rc1", "v0rc1"}
)  # the document and its tests spell the candidate differently
_MOST_ENDPOINTS = 3

views = RootViews(__name__)


def camara_errors(view: View) -> View:
    """Answer errors in the standard's form, and give every answer the caller's `x-correlator`."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Response:
        correlator = views.current_request.headers.get("x-correlator", "")
        if not _CORRELATOR.fullmatch(correlator):
            return camara_answer(InvalidRequest("x-correlator: has not the right form"), {})
        headers = {"x-correlator": correlator} if correlator else {}
        try:
            response = view(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the last resort: law 10
            return camara_answer(error, headers)
        response.headers.update(headers)
        return response

    return guarded


def _route(method: str, path: str) -> Callable[[View], View]:
    return views.view(method, path, errors=camara_errors)


@_route("GET", "/simple-edge-discovery/v1/edge-cloud-zones")
def closest_zones() -> Response:
    """The zone closest to the device of the headers, alone in an array."""
    request = views.current_request
    if parameter(request, "filter") != "closest":
        raise CamaraProblem(400, "INVALID_QUERYSTRING", "Querystring must be provided: filter=closest")
    caller = client_address(request, views.root.settings.trusted_proxies)
    return answer([_closest(devices.header_device(request.headers, caller))])


@_route("POST", "/simple-edge-discovery/v2/retrieve-closest-edge-cloud-zone")
def closest_zone() -> Response:
    """The zone closest to the device of the body."""
    device = devices.zone_device(json_body(views.current_request))
    return answer(_closest(device) | _used(device))


@_route("POST", "/application-endpoint-discovery/{version}/retrieve-optimal-app-endpoints")
def optimal_endpoints(version: str) -> Response:
    """Where the app can be had for the device, the best first."""
    request, root = views.current_request, views.root
    if version not in _VERSIONS:
        raise CamaraProblem(404, "NOT_FOUND", f"Versions that are served: {', '.join(sorted(_VERSIONS))}.")
    asked = devices.EndpointRequest.from_json(json_body(request))
    root.limits.call("candidates", client_address(request, root.settings.trusted_proxies))
    check_device(root, request, root.apps.find(asked.app_uuid))
    offer = root.deployer.candidates(asked.app_uuid, _client(asked.device))
    reachable = [each for each in offer.cloudlets if each.endpoint][:_MOST_ENDPOINTS]
    if not reachable:
        raise NoCloudlet("No cloudlet that devices can call has this app for this device.")
    endpoints = [zones.endpoint(each, root.settings.provider) for each in reachable]
    named = {asked.name: str(asked.app_uuid)}
    return answer({"applicationEndpoints": endpoints, **named, **_used(asked.device)})


def _closest(device: devices.Device) -> dict[str, Any]:
    root = views.root
    root.limits.call("candidates", client_address(views.current_request, root.settings.trusted_proxies))
    return zones.zone(root.deployer.closest(_client(device))[0], root.settings.provider)


def _client(device: devices.Device) -> ClientInfo:
    """The device as matchers see it. `X-Location` is our addition: the standard leaves that to operators."""
    return ClientInfo(b"", device.address, header_location(views.current_request))


def _used(device: devices.Device) -> dict[str, Any]:
    """Which of several identifiers was used."""
    return {"device": device.to_json()} if len(device.given) > 1 else {}
