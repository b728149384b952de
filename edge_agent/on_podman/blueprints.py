"""Everything about a deployment's pods, worked out before the first is made: pure, called by `podman.py`.

Whatever Podman can't do is found here, so that nothing has been made when it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from edge_agent.deployments.records import Record
from edge_agent.errors import DeployFailed
from edge_agent.on_podman.containers import ContainerPlan, Surroundings, plan_container
from edge_agent.on_podman.isolation import Targets, service_addresses
from edge_agent.on_podman.pods import PodPlan, Serves, headless, plan_pods, selects
from edge_agent.on_podman.settings_sources import Sources
from edge_agent.on_podman.shares import Share, shares
from edge_agent.on_podman.volumes import VolumePlan, plan_volumes
from edge_agent.recipes.limits import Limits
from edge_agent.recipes.manifests import Manifest

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_IMAGE = re.compile(
    r"[a-zA-Z0-9][a-zA-Z0-9._-]*(:[0-9]+)?(/[a-zA-Z0-9._-]+)*(:[A-Za-z0-9_][A-Za-z0-9._-]*)?(@sha256:[0-9a-f]{64})?"
)
_TRANSPORTS = re.compile(
    r"(containers-storage|dir|docker-archive|docker-daemon|oci|oci-archive|ostree|sif|tarball):"
)
"""Ways to name a file of this machine where an image is expected."""


@dataclass(frozen=True)
class Blueprint:
    """One pod: what it is, its address, the names that it knows, and everything in it."""

    pod: PodPlan
    address: IPv4Address
    hosts: Sequence[tuple[str, IPv4Address]]
    shares_processes: bool
    volumes: Sequence[VolumePlan]
    inits: Sequence[ContainerPlan]
    containers: Sequence[ContainerPlan]


def draw(
    record: Record,
    manifests: Sequence[Manifest],
    limits: Limits,
    labels: Mapping[str, str],
    subnet: IPv4Network,
) -> list[Blueprint]:
    """The pods of a deployment on its network; raises `DeployFailed`."""
    try:
        plans = plan_pods(record, manifests, labels)
        for plan in plans:
            _check_names(plan)
        sources, given = Sources(manifests), shares(plans, limits)
        hosts = list(_hosts(record, manifests, plans, subnet))
        return [_blueprint(record, plan, sources, limits, hosts, subnet, given) for plan in plans]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DeployFailed(f"Its manifests can't be understood: {error!r}") from error


def pod_address(subnet: IPv4Network, index: int) -> IPv4Address:
    """The address of a deployment's pod."""
    return subnet[10 + index]


def targets(record: Record, offers: Sequence[tuple[IPv4Address, Serves]]) -> Targets:
    """Where the services' addresses lead, from what the pods at some addresses offer."""
    addresses = service_addresses(record.ports)
    found: dict[tuple[IPv4Address, str, int], list[tuple[IPv4Address, int]]] = {}
    for pod, serves in offers:
        for (service, protocol, port), target in serves.items():
            if service in addresses:
                found.setdefault((addresses[service], protocol, port), []).append((pod, target))
    return found


def _blueprint(
    record: Record,
    plan: PodPlan,
    sources: Sources,
    limits: Limits,
    hosts: Sequence[tuple[str, IPv4Address]],
    subnet: IPv4Network,
    given: Mapping[str, Share],
) -> Blueprint:
    address = pod_address(subnet, plan.index)
    volumes = plan_volumes(plan, sources, limits)
    around = Surroundings(record.home, address, volumes, sources)
    inits = [plan_container(plan, name, one, given[name], around) for name, one in plan.inits.items()]
    containers = [
        plan_container(plan, name, one, given[name], around) for name, one in plan.containers.items()
    ]
    asked = plan.spec.get("hostAliases") or []
    own = [(str(name), IPv4Address(alias["ip"])) for alias in asked for name in alias.get("hostnames") or []]
    shared = bool(plan.spec.get("shareProcessNamespace"))
    return Blueprint(plan, address, [*hosts, *own], shared, list(volumes.values()), inits, containers)


def _hosts(
    record: Record, manifests: Sequence[Manifest], plans: Sequence[PodPlan], subnet: IPv4Network
) -> Iterator[tuple[str, IPv4Address]]:
    """The names that a deployment's pods know: its services', long and short, and StatefulSets' pods'."""
    bare = headless(manifests)
    for service, address in service_addresses(record.ports).items():
        if service not in bare:
            yield from ((name, address) for name in _long(service, record.home))
    for service, selector in bare.items():
        for plan in plans:
            if selects(selector, plan.labels):
                yield from ((name, pod_address(subnet, plan.index)) for name in _long(service, record.home))
    for plan in plans:
        for own in plan.names:
            names = _long(own, record.home) if "." in own else [own]
            yield from ((name, pod_address(subnet, plan.index)) for name in names)


def _long(name: str, home: str) -> list[str]:
    return [name, f"{name}.{home}", f"{name}.{home}.svc", f"{name}.{home}.svc.cluster.local"]


def _check_names(plan: PodPlan) -> None:
    """What becomes a word on Podman's command line has to be a name."""
    spec = plan.spec
    names = [
        one["name"] for field in ("containers", "initContainers", "volumes") for one in spec.get(field) or []
    ]
    names += [name for alias in spec.get("hostAliases") or [] for name in alias.get("hostnames") or []]
    for name in [plan.hostname, *names]:
        if not all(_NAME.fullmatch(part) for part in str(name).split(".")):
            raise DeployFailed(f"{str(name)[:80]!r} is no name for a container, volume or host.")
    for container in [*spec["containers"], *(spec.get("initContainers") or [])]:
        image = str(container["image"])
        if not _IMAGE.fullmatch(image) or _TRANSPORTS.match(image):
            raise DeployFailed(f"{image[:200]!r} is no name of an image in a registry.")
