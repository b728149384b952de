"""The gateway's packet rules as one nftables table: pure functions, called by `gateway.py`.

What a device may do, and nothing else:
- send from its own tunnel addresses, so many packets a second, and open so many connections;
- reach the gateway's tunnel addresses: DNS, the status API on port 80, ping;
- reach its own services' tunnel addresses, each rewritten to a ready pod's address and port.
A device's traffic is masqueraded towards the pods, whose networks therefore need no route to the tunnel. The
rewritten destination is checked once more, so that a connection that was set up for a pod's earlier owner is
of no use. IPv6 ends at the gateway: nothing of it is forwarded, since an IPv6 packet can't be rewritten to an
IPv4 pod.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent.deployments.addresses import Plan
from edge_agent.deployments.routes import Peer

_GATEWAY_CONNECTIONS = 16
"""A device may have so many connections to the gateway itself at a time: one guest's must not use all up."""
_TCP_AND_IP_BYTES = 40
"""Without options; what a segment loses of the MTU."""

_TEMPLATE = """\
add table inet {table}
delete table inet {table}
table inet {table} {{
  map forwards {{
    type ipv4_addr . ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
    {forwards}
  }}
  set allowed {{
    type ipv4_addr . ipv4_addr . inet_proto . inet_service
    {allowed}
  }}
{sets}
  chain strangers {{
    type filter hook prerouting priority raw; policy accept;
    iifname "{interface}" jump senders
    iifname "lo" accept
    {strangers}
  }}
  chain senders {{
    {senders}
    accept
  }}
  chain openings {{
    type filter hook prerouting priority mangle; policy accept;
    iifname != "{interface}" accept
    ct state != new accept
    {openings}
  }}
  chain lead {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname "{interface}" ip daddr {network} meta l4proto {{ tcp, udp }} \
dnat ip to ip saddr . ip daddr . meta l4proto . th dport map @forwards
  }}
  chain hide {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {network} oifname != {{ "{interface}", "lo" }} masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{interface}" jump fit
    oifname "{interface}" jump fit
    iifname "{interface}" jump from_devices
    oifname "{interface}" ct state established,related accept
    oifname "{interface}" drop
  }}
  chain fit {{
    tcp flags syn tcp option maxseg size set {segment}
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "{interface}" jump to_gateway
  }}
  chain from_devices {{
    meta nfproto ipv6 jump refuse
    ct state related accept
    ct status dnat ip saddr . ip daddr . meta l4proto . th dport @allowed accept
    jump refuse
  }}
  chain to_gateway {{
    ct state related accept
    {gateway}
    jump refuse
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject with icmpx type port-unreachable
  }}
}}
"""
_FAMILY_SETS = """\
  set peers{v} {{
    type ipv{n}_addr
    {peers}
  }}
  set pace{v} {{
    type ipv{n}_addr
    size 65536
    flags dynamic,timeout
    timeout 1m
  }}
  set opened{v} {{
    type ipv{n}_addr
    size 65536
    flags dynamic,timeout
    timeout 1m
  }}
  set open{v} {{
    type ipv{n}_addr
    size 65536
    flags dynamic
  }}
  set callers{v} {{
    type ipv{n}_addr
    size 65536
    flags dynamic
  }}"""
_FAMILY_STRANGERS = ("{ip} saddr {network} drop", "{ip} daddr {network} drop")
_FAMILY_SENDERS = (
    "{ip} saddr != @peers{v} drop",
    "update @pace{v} {{ {ip} saddr limit rate over {packets}/second burst {packets} packets }} drop",
)
_FAMILY_OPENINGS = (
    "update @opened{v} {{ {ip} saddr limit rate over {rate}/second burst {rate} packets }} drop",
    "add @open{v} {{ {ip} saddr ct count over {connections} }} drop",
)
_FAMILY_GATEWAY = (
    "{ip} daddr {gateway} udp dport 53 accept",
    "ct state new tcp dport {{ 53, 80 }} add @callers{v} {{ {ip} saddr ct count over {calls} }} jump refuse",
    "{ip} daddr {gateway} tcp dport {{ 53, 80 }} accept",
    "{ip} daddr {gateway} {icmp} type echo-request accept",
)

Elements = Mapping[str, frozenset[str]]
"""The table's set and map elements that follow from the peers, by the set's name."""


@dataclass(frozen=True)
class Pace:
    """What one device may do: packets and new connections a second, and connections at a time.

    20,000 packets a second are some 200 Mbit/s of full ones towards the cloudlet. What is above is dropped,
    so TCP adapts. An app that asks for something every 10 ms, by name and without keeping connections, opens
    300 a second: two questions for the name's addresses, and one connection.
    """

    packets: int = 20_000
    new_connections: int = 400
    connections: int = 1024


def elements(plan: Plan, peers: Sequence[Peer]) -> Elements:
    """What the table's sets hold for these peers."""
    forwards, allowed = set(), set()
    for peer in peers:
        for (address, protocol, port), (pod, target) in peer.forwards.items():
            transport = {"TCP": "tcp", "UDP": "udp"}[protocol]
            forwards.add(f"{peer.device} . {address} . {transport} . {port} : {pod} . {target}")
            allowed.add(f"{peer.device} . {pod} . {transport} . {target}")
    known = {"peers": frozenset(str(peer.device) for peer in peers)}
    if plan.network6 is not None:
        known["peers6"] = frozenset(str(plan.twin(peer.device)) for peer in peers)
    return {"forwards": frozenset(forwards), "allowed": frozenset(allowed), **known}


def ruleset(table: str, interface: str, plan: Plan, held: Elements, pace: Pace, mtu: int) -> str:
    """The text for `nft -f -`: it replaces the whole table in one step."""
    families = [
        {"n": "4", "v": "", "ip": "ip", "icmp": "icmp", "network": plan.network, "gateway": plan.gateway}
    ]
    if plan.network6 is not None:
        six = {"n": "6", "v": "6", "ip": "ip6", "icmp": "icmpv6"}
        families.append({**six, "network": plan.network6, "gateway": plan.gateway6})
    limits = {"packets": pace.packets, "rate": pace.new_connections, "connections": pace.connections}

    def rules(*templates: str) -> str:
        lines = [
            text.format(**family, **limits, calls=_GATEWAY_CONNECTIONS)
            for family in families
            for text in templates
        ]
        return "\n    ".join(lines)

    senders = rules(*_FAMILY_SENDERS)
    if plan.network6 is None:
        senders = f"meta nfproto ipv6 drop\n    {senders}"
    sets = [_FAMILY_SETS.format(**family, peers=_written(held[f"peers{family['v']}"])) for family in families]
    return _TEMPLATE.format(
        table=table,
        interface=interface,
        network=plan.network,
        segment=mtu - _TCP_AND_IP_BYTES,
        forwards=_written(held["forwards"]),
        allowed=_written(held["allowed"]),
        sets="\n".join(sets),
        strangers=rules(*_FAMILY_STRANGERS),
        senders=senders,
        openings=rules(*_FAMILY_OPENINGS),
        gateway=rules(*_FAMILY_GATEWAY),
    )


def changes(table: str, before: Elements, after: Elements) -> str:
    """The text for `nft -f -` that leads from one set of elements to the other in one step; empty for none.

    What goes comes first: a map holds a key once.
    """
    gone = [_change("delete", table, name, before[name] - after[name]) for name in after]
    come = [_change("add", table, name, after[name] - before[name]) for name in after]
    return "".join(gone + come)


def _change(verb: str, table: str, name: str, items: frozenset[str]) -> str:
    return f"{verb} element inet {table} {name} {{ {', '.join(sorted(items))} }}\n" if items else ""


def _written(items: frozenset[str]) -> str:
    return f"elements = {{ {', '.join(sorted(items))} }}" if items else ""
