"""Names in announcements, and who else has one; what goes over the network is for the live tests."""

from __future__ import annotations

import threading
from uuid import UUID

import pytest
from zeroconf import RecordUpdate, ServiceInfo, Zeroconf

from edge_agent.nearby.advertise import SERVICE_TYPE, Advertiser, _interfaces, _label, _Rivals

ZEROCONF = Zeroconf.__new__(Zeroconf)  # a listener gets one, and does not use it


def info(label: str, server: str, ttl: int = 120) -> ServiceInfo:
    return ServiceInfo(
        SERVICE_TYPE, f"{label}.{SERVICE_TYPE}", port=7070, server=f"{server}.local.", host_ttl=ttl
    )


def heard(mine: ServiceInfo, *others: ServiceInfo) -> str | None:
    rivals = _Rivals(mine)
    records = [record for one in others for record in (one.dns_pointer(), one.dns_service(), one.dns_text())]
    rivals.async_update_records(ZEROCONF, 0.0, [RecordUpdate(record, None) for record in records])
    return rivals.take()


def test_a_rival_is_another_server_with_the_same_name() -> None:
    mine = info("cloudlet", "sinfonia-2")
    assert heard(mine, info("Cloudlet", "Sinfonia-1")) == "sinfonia-1.local."
    assert heard(mine, mine) is None
    assert heard(mine, info("other", "sinfonia-1")) is None
    assert heard(mine, info("cloudlet", "sinfonia-1", ttl=0)) is None, "it says goodbye"


def test_who_had_a_name_that_was_given_up_is_none() -> None:
    mine, other = info("cloudlet", "sinfonia-2"), info("cloudlet", "sinfonia-1")
    rivals = _Rivals(mine)
    rivals.async_update_records(ZEROCONF, 0.0, [RecordUpdate(other.dns_service(), None)])
    mine.name = f"cloudlet-2.{SERVICE_TYPE}"
    assert rivals.take() is None


def test_a_name_keeps_room_for_its_number() -> None:
    assert _label("x" * 80, "-12") == "x" * 60 + "-12"
    assert _label("é" * 60, "-2") == "é" * 30 + "-2"
    assert _label("", "-2") == "cloudlet-2"


def test_of_an_interfaces_addresses_the_links_own_sends() -> None:
    given = ["2001:db8::7", "192.0.2.7", "fe80::7%eth0", "fd00::7"]
    assert _interfaces(given)[:2] == ["192.0.2.7", "fe80::7%eth0"]


def test_without_addresses_nothing_is_announced_which_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    advertiser, stop = Advertiser("cloudlet", UUID(int=1), list, 7070, {}), threading.Event()
    advertiser.keep(stop, lambda: (stop.set(), True)[1])  # type: ignore[func-returns-value]
    advertiser.open()
    advertiser.close()
    advertiser.open()
    assert [one.message for one in caplog.records] == [
        "this machine has none of the addresses that are to be announced"
    ]
