"""What the gateway's name server answers: pure functions, and the only module that knows DNS. Called by
`name_server.py`.

It answers each device, known by its tunnel address, for its own services alone:
`<service>.<deployment>.<domain>`, and for the gateway: `gateway.<domain>`. Everything else is refused; there
is no recursion. RFC 1035, 2308 (negative answers), 6891 (EDNS). Names are compared without case, and come
back as they were asked: some resolvers play with it to tell true answers from false ones.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from dnslib import AAAA, CLASS, EDNS0, QTYPE, RCODE, RR, SOA, A, DNSError, DNSHeader, DNSRecord

_TTL_SECONDS = 60
_NEGATIVE_TTL_SECONDS = 5
_PLAIN_BYTES = 512
"""What a UDP answer may have where the question does not say more (RFC 1035, 4.2.1)."""
_MOST_BYTES = 1232
"""What fits an IPv6 packet anywhere (DNS flag day 2020), and so a tunnel."""
_BAD_VERSION = 1
"""The upper eight bits of BADVERS, 16 (RFC 6891, 6.1.3)."""

Address = IPv4Address | IPv6Address
Zones = Callable[[IPv4Address], tuple[str, Mapping[str, IPv4Address]] | None]
"""The deployment's name and its services' addresses, by the address of the device that asks."""


@dataclass(frozen=True)
class Names:
    """What may be known. `device`: the tunnel address of a sender; `gateway`: the gateway's own addresses."""

    zones: Zones
    domain: str
    device: Callable[[str], IPv4Address]
    gateway: Sequence[Address] = ()

    def answer(self, query: bytes, source: str, *, udp: bool) -> bytes | None:
        """The answer to a query, or None for what deserves none; over UDP cut to what the asker takes."""
        try:
            request = DNSRecord.parse(query)
            version, most = _edns(request)
        except (DNSError, ValueError, IndexError, struct.error):
            return _format_error(query)
        if request.header.qr:
            return None
        reply = request.reply(ra=0, aa=0)
        if request.header.opcode or len(request.questions) != 1:
            reply.header.rcode = RCODE.NOTIMP
        elif version in (None, 0):
            self._look_up(request, reply, self.device(source))
        if version is not None:
            reply.add_ar(EDNS0(udp_len=_MOST_BYTES, ext_rcode=_BAD_VERSION if version else 0))
        packed: bytes = reply.pack()
        if udp and len(packed) > most:
            packed = reply.truncate().pack()
        return packed

    def _look_up(self, request: DNSRecord, reply: DNSRecord, device: IPv4Address) -> None:
        name = str(request.q.qname).rstrip(".").lower()
        known = self.zones(device)
        if request.q.qclass != CLASS.IN or known is None or not _within(name, self.domain):
            reply.header.rcode = RCODE.REFUSED
            return
        deployment, services = known
        zone = f"{deployment}.{self.domain}"
        addresses = self._addresses(name, zone, services)
        reply.header.aa = 1
        for address in addresses:
            kind = QTYPE.A if isinstance(address, IPv4Address) else QTYPE.AAAA
            if request.q.qtype in (kind, QTYPE.ANY):
                data = A(str(address)) if kind == QTYPE.A else AAAA(str(address))
                reply.add_answer(RR(request.q.qname, kind, ttl=_TTL_SECONDS, rdata=data))
        if reply.rr:
            return
        if not addresses and name not in (zone, self.domain):
            reply.header.rcode = RCODE.NXDOMAIN
        self._deny(reply, zone if _within(name, zone) else self.domain)

    def _addresses(self, name: str, zone: str, services: Mapping[str, IPv4Address]) -> Sequence[Address]:
        if name == f"gateway.{self.domain}":
            return self.gateway
        address = services.get(name.removesuffix(f".{zone}")) if name != zone else None
        return () if address is None else (address,)

    def _deny(self, reply: DNSRecord, zone: str) -> None:
        times = (1, 60, 60, 60, _NEGATIVE_TTL_SECONDS)
        soa = SOA(f"gateway.{self.domain}", f"nobody.{self.domain}", times)
        reply.add_auth(RR(zone, QTYPE.SOA, ttl=_NEGATIVE_TTL_SECONDS, rdata=soa))


def _edns(request: DNSRecord) -> tuple[int | None, int]:
    """The version of EDNS, None without it, and how many bytes an answer over UDP may have."""
    options = [record for record in request.ar if record.rtype == QTYPE.OPT]
    if not options:
        return None, _PLAIN_BYTES
    if len(options) > 1:
        raise ValueError("two OPT records")
    return options[0].edns_ver, min(max(options[0].edns_len, _PLAIN_BYTES), _MOST_BYTES)


def _within(name: str, zone: str) -> bool:
    return name == zone or name.endswith("." + zone)


def _format_error(query: bytes) -> bytes | None:
    if len(query) < 12 or query[2] & 0x80:
        return None
    header = DNSHeader(id=int.from_bytes(query[:2]), qr=1, rcode=RCODE.FORMERR, q=0, a=0, auth=0, ar=0)
    packed: bytes = DNSRecord(header).pack()
    return packed
