"""What guests on Podman can reach, as one nftables table of the agent's own: their deployment, by the names
of its services, and the public Internet. Not this machine, its neighbours, other guests, tunnels, metadata
services. Called by `podman.py`; calls `nft` and `ip`.

The rules are those of the Kubernetes runtime's NetworkPolicy. They stand before the first container of a
deployment starts, and a bridge is known by its name, so that a guest gains nothing by another address.

A service has an address from a range that is routed nowhere (RFC 2544), the same in every deployment: its
name leads there (`hosts`), and each bridge leads it on to the pods behind. Podman's own name server would
know names but no ports.
"""

from __future__ import annotations

import logging
import subprocess
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from uuid import UUID

from edge_agent.errors import Unavailable
from edge_agent.on_podman.host_network import given_resolvers, networks, ports

_LOG = logging.getLogger(__name__)

_TIMEOUT = 10.0
_SERVICES = IPv4Network("198.18.0.0/24")
_NOT_PUBLIC = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
)
"""Where no public hosts are: this machine's neighbours, tunnels, metadata services of clouds, multicast."""

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
Resolvers = Callable[[], Collection[IPv4Address]]
Targets = Mapping[tuple[IPv4Address, str, int], Sequence[tuple[IPv4Address, int]]]
"""A service's address, protocol and port, to the pods' behind it."""


@dataclass(frozen=True)
class Fence:
    """What is around one deployment: its bridge, the bridge's network, and its services."""

    bridge: str
    subnet: IPv4Network
    targets: Targets


class Isolation:
    """The table, always as a whole. Safe between threads. `run` is `subprocess.run`; `resolvers` are the name
    servers that guests are given.
    """

    def __init__(self, agent: UUID, run: Run = subprocess.run, resolvers: Resolvers | None = None) -> None:
        self._table = f"sinfonia_pods_{agent.hex[:8]}"
        self._tunnel = f"sf-{agent.hex[:8]}"
        self._run = run
        self._resolvers = resolvers or given_resolvers
        self._fences: dict[str, Fence] = {}
        self._guard = threading.Lock()

    def restore(self, fences: Mapping[str, Fence]) -> None:
        """Have these fences and no others, by deployment name; raises `Unavailable`."""
        with self._guard:
            self._fences = dict(fences)
            self._write()

    def put(self, deployment: str, fence: Fence) -> None:
        """Have this fence too; raises `Unavailable`, and then no guest may start."""
        with self._guard:
            self._fences[deployment] = fence
            self._write()

    def drop(self, deployment: str) -> None:
        """Take the fence of a deployment away whose guests are gone; raises `Unavailable`."""
        with self._guard:
            if self._fences.pop(deployment, None) is not None:
                self._write()

    def reflect(self, bridges: Collection[str]) -> None:
        """Let the pods on these bridges reach themselves by their services' addresses.

        Where the kernel shows bridged packets to its rules (br_netfilter, as next to Docker), one that a
        service leads back to its sender stays on the bridge, which gives nothing back without this.
        """
        if not bridges:
            return
        listing = self._tool(["ip", "-j", "-d", "link", "show", "type", "bridge_slave"]) or b"[]"
        steps = [
            f"link set dev {port} type bridge_slave hairpin on\n"
            for port, bridge, reflects in ports(listing)
            if bridge in bridges and not reflects
        ]
        if steps:  # one of them may just have gone
            self._tool(["ip", "-force", "-batch", "-"], "".join(steps))

    def mend(self) -> None:
        """Write the table again if somebody took it away, such as another firewall that starts anew."""
        with self._guard:
            if self._fences and self._tool(["nft", "list", "chain", "inet", self._table, "forward"]) is None:
                _LOG.warning("the rules around the guests are gone, they are made again")
                self._write()

    def _write(self) -> None:
        near = networks(self._tool(["ip", "-j", "-4", "address"]) or b"") if self._fences else []
        text = ruleset(self._table, self._tunnel, self._fences.values(), self._resolvers(), near)
        if self._tool(["nft", "-f", "-"], text) is None:
            raise Unavailable("The rules around the guests can't be set; the agent's log says why.")

    def _tool(self, command: Sequence[str], text: str = "") -> bytes | None:
        """What it prints, or None where it fails."""
        try:
            done = self._run(
                list(command),
                input=text.encode(),
                capture_output=True,
                timeout=_TIMEOUT,
                check=False,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise Unavailable(
                f"{command[0]} is not installed; guests can't be kept apart without it"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"{command[0]} did not end within {_TIMEOUT:g} s") from error
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()[:400]
            _LOG.info("a tool refuses", extra={"command": " ".join(command[:3]), "reason": said})
            return None
        output: bytes = done.stdout
        return output


def service_addresses(names: Collection[str]) -> Mapping[str, IPv4Address]:
    """The addresses of a deployment's services, as its pods see them."""
    return {name: _SERVICES[1 + index] for index, name in enumerate(sorted(names))}


def ruleset(
    table: str,
    tunnel: str,
    fences: Collection[Fence],
    resolvers: Collection[IPv4Address],
    surroundings: Collection[IPv4Network],
) -> str:
    """The text for `nft -f -`: it replaces the whole table in one step, or takes it away where no fence is.

    Guests are reached through the interface `tunnel` alone.
    """
    head = f"add table inet {table}\ndelete table inet {table}\n"
    if not fences:
        return head
    # Sorted and collapsed networks, since a set with intervals takes none twice.
    near = _collapsed([*map(IPv4Network, _NOT_PUBLIC), *surroundings])
    names = _elements("ipv4_addr", "", sorted(map(str, resolvers)))
    closed = _elements("ipv4_addr", "flags interval;", near)
    doors = {
        name: ", ".join(f'"{fence.bridge}" : jump {name}_{index}' for index, fence in enumerate(fences))
        for name in ("out", "in", "lead")
    }
    bridges = ", ".join(f'"{fence.bridge}"' for fence in fences)
    each = "\n".join(_chains(index, fence, tunnel) for index, fence in enumerate(fences))
    return f"""{head}table inet {table} {{
  set resolvers {{ {names} }}
  set near {{ {closed} }}
  chain world {{
    ip daddr @resolvers meta l4proto {{ tcp, udp }} th dport 53 accept
    ip daddr @near jump refuse
    meta nfproto ipv4 accept
    jump refuse
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject with icmpx type admin-prohibited
  }}
{each}
  chain forward {{
    type filter hook forward priority filter - 5; policy accept;
    ct state established,related accept
    iifname vmap {{ {doors["out"]} }}
    oifname vmap {{ {doors["in"]} }}
  }}
  chain input {{
    type filter hook input priority filter - 5; policy accept;
    iifname {{ {bridges} }} ct state established,related accept
    iifname {{ {bridges} }} jump refuse
  }}
  chain output {{
    type filter hook output priority filter; policy accept;
    oifname {{ {bridges} }} icmp type redirect drop
  }}
  chain lead {{
    type nat hook prerouting priority dstnat - 5; policy accept;
    iifname vmap {{ {doors["lead"]} }}
  }}
  chain back {{
    type nat hook postrouting priority srcnat - 5; policy accept;
    ct status dnat ct original ip daddr {_SERVICES} masquerade
  }}
}}
"""


def _chains(index: int, fence: Fence, tunnel: str) -> str:
    """What leaves a bridge, what comes to it, and where its services' addresses lead."""
    lead = "\n".join(f"    {line}" for line in _leads(fence.targets))
    return f"""  chain out_{index} {{
    ip saddr != {fence.subnet} drop
    ip daddr {fence.subnet} accept
    jump world
  }}
  chain in_{index} {{
    iifname "{fence.bridge}" accept
    iifname "{tunnel}" accept
    jump refuse
  }}
  chain lead_{index} {{
{lead}
  }}"""


def _leads(targets: Targets) -> Iterator[str]:
    for (address, protocol, port), pods in sorted(targets.items()):
        match = f"ip daddr {address} {protocol.lower()} dport {port}"
        if len(pods) == 1:
            yield f"{match} dnat ip to {pods[0][0]}:{pods[0][1]}"
        else:
            turns = ", ".join(f"{turn} : {pod} . {target}" for turn, (pod, target) in enumerate(pods))
            yield f"{match} dnat ip to numgen inc mod {len(pods)} map {{ {turns} }}"


def _elements(kind: str, flags: str, items: Sequence[str]) -> str:
    elements = f" elements = {{ {', '.join(items)} }}" if items else ""
    return f"type {kind}; {flags}{elements}"


def _collapsed(networks: Sequence[IPv4Network]) -> list[str]:
    return [str(network) for network in collapse_addresses(networks)]
