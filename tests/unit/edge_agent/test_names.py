"""The name server: each device gets its own names, and nobody gets anything else."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address

import pytest
from dnslib import CLASS, EDNS0, QTYPE, RCODE, DNSQuestion, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.tunnels.name_server import NameServer
from edge_agent.tunnels.names import Names

DOMAIN = "sinfonia.internal"
MINE, OTHER = IPv4Address("100.71.0.9"), IPv4Address("100.71.0.17")


def zones(device: IPv4Address) -> tuple[str, Mapping[str, IPv4Address]] | None:
    known = {MINE: ("hello-1", {"helloworld": MINE + 1}), OTHER: ("hello-2", {"helloworld": OTHER + 1})}
    return known.get(device)


GATEWAY = (IPv4Address("100.71.0.1"), IPv6Address("fd5f:1c9a:1e7f:354a::1"))
NAMES = Names(zones, DOMAIN, IPv4Address, GATEWAY)


def answer(query: bytes, device: IPv4Address = MINE, *, udp: bool = True) -> bytes | None:
    return NAMES.answer(query, str(device), udp=udp)


def ask(name: str, kind: str = "A", device: IPv4Address = MINE, **question: int) -> DNSRecord:
    query = DNSRecord(q=DNSQuestion(name, getattr(QTYPE, kind), **question))
    got = answer(query.pack(), device)
    assert got is not None
    reply = DNSRecord.parse(got)
    assert reply.header.id == query.header.id
    return reply


@pytest.mark.parametrize(
    "name", ["helloworld.hello-1.sinfonia.internal", "HelloWorld.Hello-1.Sinfonia.Internal."]
)
def test_own_names(name: str) -> None:
    reply = ask(name)
    assert reply.header.rcode == RCODE.NOERROR
    assert [str(record.rdata) for record in reply.rr] == [str(MINE + 1)]
    assert str(ask(name, device=OTHER).short()) == ""


@pytest.mark.parametrize("kind", ["AAAA", "MX", "TXT", "HTTPS"])
def test_other_types_of_an_own_name_are_empty(kind: str) -> None:
    reply = ask("helloworld.hello-1.sinfonia.internal", kind)
    assert (reply.header.rcode, len(reply.rr), len(reply.auth)) == (RCODE.NOERROR, 0, 1)


def test_the_gateway_has_a_name_in_both_families() -> None:
    assert str(ask("gateway.sinfonia.internal").short()) == str(GATEWAY[0])
    assert str(ask("gateway.sinfonia.internal", "AAAA").short()) == str(GATEWAY[1])
    assert len(ask("gateway.sinfonia.internal", "ANY").rr) == 2
    assert ask("gateway.hello-1.sinfonia.internal").header.rcode == RCODE.NXDOMAIN


def test_names_come_back_as_they_were_asked() -> None:
    asked = "hElLoWoRlD.hello-1.SINFONIA.internal."
    reply = ask(asked)
    assert (str(reply.q.qname), str(reply.rr[0].rname)) == (asked, asked)


@pytest.mark.parametrize(("version", "extended"), [(0, 0), (1, 1)])
def test_edns_is_answered_by_edns(version: int, extended: int) -> None:
    query = DNSRecord.question("helloworld.hello-1.sinfonia.internal")
    query.add_ar(EDNS0(udp_len=4096, version=version))
    reply = DNSRecord.parse(answer(query.pack()) or b"")
    assert (len(reply.ar), reply.ar[0].edns_len, reply.ar[0].edns_rcode) == (1, 1232, extended)
    assert len(reply.rr) == (0 if version else 1)
    query.add_ar(EDNS0(udp_len=4096))
    assert DNSRecord.parse(answer(query.pack()) or b"").header.rcode == RCODE.FORMERR


def test_what_does_not_fit_udp_is_cut_and_whole_over_tcp() -> None:
    many = Names(zones, DOMAIN, IPv4Address, tuple(MINE + number for number in range(60)))
    query = DNSRecord.question("gateway.sinfonia.internal")
    cut = many.answer(query.pack(), str(MINE), udp=True) or b""
    assert len(cut) <= 512
    assert DNSRecord.parse(cut).header.tc == 1
    query.add_ar(EDNS0(udp_len=4096))
    assert len(DNSRecord.parse(many.answer(query.pack(), str(MINE), udp=True) or b"").rr) == 60
    query = DNSRecord.question("gateway.sinfonia.internal")
    assert len(DNSRecord.parse(many.answer(query.pack(), str(MINE), udp=False) or b"").rr) == 60


def test_the_zone_itself_is_empty() -> None:
    reply = ask("hello-1.sinfonia.internal")
    assert (reply.header.rcode, len(reply.rr)) == (RCODE.NOERROR, 0)


@pytest.mark.parametrize(
    "name",
    [
        "x.hello-1.sinfonia.internal",
        "a.helloworld.hello-1.sinfonia.internal",
        "helloworld.hello-2.sinfonia.internal",
    ],
)
def test_unknown_and_other_devices_names_do_not_exist(name: str) -> None:
    reply = ask(name)
    assert (reply.header.rcode, len(reply.rr)) == (RCODE.NXDOMAIN, 0)
    assert len(reply.auth) == 1


@pytest.mark.parametrize("name", ["example.com", "helloworld", ".", "internal", "xsinfonia.internal"])
def test_foreign_names_are_refused(name: str) -> None:
    assert ask(name).header.rcode == RCODE.REFUSED


def test_strangers_are_refused() -> None:
    name = "helloworld.hello-1.sinfonia.internal"
    assert ask(name, device=IPv4Address("192.0.2.1")).header.rcode == RCODE.REFUSED
    assert ask(name, qclass=CLASS.CH).header.rcode == RCODE.REFUSED


def test_odd_messages() -> None:
    query = DNSRecord.question("helloworld.hello-1.sinfonia.internal")
    query.header.opcode = 5
    assert DNSRecord.parse(answer(query.pack()) or b"").header.rcode == RCODE.NOTIMP
    assert answer(query.reply().pack()) is None
    assert answer(b"short") is None
    broken = DNSRecord.question("x.example").pack()[:14]
    assert DNSRecord.parse(answer(broken) or b"").header.rcode == RCODE.FORMERR


@given(st.binary(max_size=600))
def test_any_bytes_are_survived(query: bytes) -> None:
    answer(query)


@pytest.fixture
def server() -> Iterator[NameServer]:
    local = IPv4Address("127.0.0.1")

    def make() -> NameServer:
        names = Names(
            lambda device: ("hello-1", {"a": MINE}) if device == local else None, DOMAIN, IPv4Address
        )
        return NameServer(("127.0.0.1", 0), names.answer)

    for _ in range(9):  # the UDP port that it got may be somebody's TCP port
        with contextlib.suppress(OSError):
            server = make()
            break
    else:
        server = make()
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("tcp", [False, True])
def test_over_udp_and_tcp(server: NameServer, tcp: bool) -> None:
    query = DNSRecord.question("a.hello-1.sinfonia.internal")
    reply = DNSRecord.parse(query.send(*server.address, tcp=tcp, timeout=5))
    assert str(reply.a.rdata) == str(MINE)


def test_a_slow_speaker_is_cut_off(server: NameServer) -> None:
    started, pause = time.monotonic(), threading.Event()
    with socket.create_connection(server.address, 5) as slow:
        slow.sendall(b"\x02\x00")
        slow.settimeout(0.2)
        while time.monotonic() - started < 5:
            try:
                slow.sendall(b"x")
                if not slow.recv(1):
                    break
            except TimeoutError:
                pause.wait(0.1)
            except OSError:
                break
    assert time.monotonic() - started < 3.5


def test_a_broken_packet_does_not_end_the_server(server: NameServer) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"\xff" * 40, server.address)
        stranger.sendto(b"", server.address)
    with socket.create_connection(server.address, 5) as stranger:
        stranger.sendall(b"\xff\xffx")
    test_over_udp_and_tcp(server, tcp=False)
    test_over_udp_and_tcp(server, tcp=True)
