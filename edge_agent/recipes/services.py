"""The services of a chart: what a device will reach, by name and port. Pure; called by `manifests.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from edge_agent.deployments.records import MAX_SERVICES
from edge_agent.errors import RecipeUnusable
from edge_agent.recipes.guests import mapping, objects, only
from edge_agent.wire import ServicePort

_SERVICE = {
    "clusterIP",
    "externalIPs",
    "externalName",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamilyPolicy",
    "ports",
    "publishNotReadyAddresses",
    "selector",
    "sessionAffinity",
    "type",
}
_SERVICE_PORT = {"appProtocol", "name", "nodePort", "port", "protocol", "targetPort"}


def served(manifests: Iterable[Mapping[str, Any]]) -> dict[str, tuple[ServicePort, ...]]:
    """The ports of each service that has some; raises `RecipeUnusable`."""
    ports = {}
    for manifest in manifests:
        if manifest["kind"] == "Service":
            offered = _service_ports(manifest)
            if offered:
                ports[manifest["metadata"]["name"]] = offered
    if len(ports) > MAX_SERVICES:
        raise RecipeUnusable(f"The chart offers {len(ports)} services; {MAX_SERVICES} are allowed.")
    return ports


def _service_ports(manifest: Mapping[str, Any]) -> tuple[ServicePort, ...]:
    where = f"Service {manifest['metadata']['name']}"
    spec = mapping(manifest, "spec", where)
    only(spec, _SERVICE, where)
    if spec.get("type", "ClusterIP") != "ClusterIP":
        raise RecipeUnusable(f"{where} is of type {spec['type']}; guests may have ClusterIP.")
    if spec.get("externalIPs") or spec.get("externalName"):
        raise RecipeUnusable(f"{where} asks for external addresses, which guests may not have.")
    if spec.get("clusterIP") not in (None, "", "None"):
        raise RecipeUnusable(f"{where} asks for the address {spec['clusterIP']}; it gets one.")
    if not mapping(spec, "selector", where):
        raise RecipeUnusable(f"{where} has no selector.")
    ports = []
    for port in explicit_protocols(spec, where):
        only(port, _SERVICE_PORT, where)
        protocol, number = port["protocol"], port.get("port")
        if protocol not in ("TCP", "UDP") or type(number) is not int or not 0 < number < 65536:
            raise RecipeUnusable(f"{where} has a port that is not TCP or UDP with a number from 1 to 65535.")
        ports.append(ServicePort(protocol, number))
    return tuple(ports)


def explicit_protocols(owner: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """The ports of a service or container, each with its protocol: server-side apply has it as a part of the
    key, and older API servers do not fill it in.
    """
    ports = [cast("dict[str, Any]", port) for port in objects(owner, "ports", where)]
    for port in ports:
        port.setdefault("protocol", "TCP")
    return ports
