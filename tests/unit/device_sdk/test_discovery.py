import sys
import threading
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from uuid import UUID

import pytest

from device_sdk.errors import DeviceError, RootError
from device_sdk.nearby.discovery import MAX_ADDRESSES, MAX_CLOUDLETS, Found, Nearby, discover, on_links
from device_sdk.tunnels.routes import Reached
from device_sdk.wire import Health

WELL = Health(UUID(int=1), "near")


def announcing(*places: tuple[float, str, int]) -> tuple[Callable[[Found], Callable[[], None]], list[str]]:
    """A neighbourhood that announces each (after seconds, address, port), each by a cloudlet of its own; the
    list tells when it is left.
    """
    log: list[str] = []

    def browse(found: Found) -> Callable[[], None]:
        def tell() -> None:
            for seconds, address, port in places:
                threading.Event().wait(seconds)
                found(f"{address}:{port}", [address], port)

        thread = threading.Thread(target=tell)
        thread.start()
        return lambda: (thread.join(), log.append("left"))  # type: ignore[return-value,func-returns-value]

    return browse, log


def test_what_answers_is_found_and_the_neighbourhood_left() -> None:
    browse, log = announcing((0, "192.0.2.7", 7070))
    found = discover(0.5, browse=browse, health=lambda _url: WELL)
    assert [(cloudlet.base_url, cloudlet.health) for cloudlet in found] == [("http://192.0.2.7:7070", WELL)]
    assert log == ["left"]


def test_it_goes_on_soon_after_the_first_one_answered() -> None:
    browse, _ = announcing((0.05, "192.0.2.7", 7070), (0.02, "192.0.2.8", 7070))
    started = time.monotonic()
    assert len(discover(5, browse=browse, health=lambda _url: WELL)) == 2
    assert time.monotonic() - started < 1


def test_it_gives_up_where_nobody_is() -> None:
    browse, log = announcing()
    started = time.monotonic()
    assert discover(0.2, browse=browse, health=lambda _url: WELL) == []
    assert 0.15 < time.monotonic() - started < 1
    assert log == ["left"]


def test_a_dead_cloudlet_that_is_still_announced_does_not_count() -> None:
    def health(url: str) -> Health:
        if "192.0.2.7" in url:
            raise RootError("gone")
        return WELL

    browse, _ = announcing((0, "192.0.2.7", 7070), (0, "192.0.2.8", 7070))
    found = discover(0.5, browse=browse, health=health)
    assert [cloudlet.base_url for cloudlet in found] == ["http://192.0.2.8:7070"]


def test_the_quickest_to_answer_comes_first() -> None:
    def health(url: str) -> Health:
        threading.Event().wait(0.05 if "192.0.2.7" in url else 0)
        return WELL

    browse, _ = announcing((0, "192.0.2.7", 7070), (0, "192.0.2.8", 7070))
    found = discover(0.5, browse=browse, health=health)
    assert [cloudlet.base_url[-6:-5] for cloudlet in found] == ["8", "7"]


def test_an_update_with_the_same_place_is_asked_once() -> None:
    asked: list[str] = []
    browse, _ = announcing(*[(0, "192.0.2.7", 7070)] * 5)
    discover(0.3, browse=browse, health=lambda url: (asked.append(url), WELL)[1])  # type: ignore[func-returns-value]
    assert asked == ["http://192.0.2.7:7070"]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.251",
        "255.255.255.255",
        "::1",
        "::",
        "ff02::fb",
        "::ffff:127.0.0.1",
        "fe80::1",
    ],
)
def test_a_neighbour_cannot_make_the_device_call_itself(address: str) -> None:
    browse, _ = announcing((0, address, 7070))
    assert discover(0.1, browse=browse, health=lambda _url: WELL) == []


def test_a_flood_of_announcements_is_bounded() -> None:
    asked: list[str] = []
    browse, _ = announcing(*((0, f"192.0.2.{number}", 7070) for number in range(100)))
    discover(0.5, browse=browse, health=lambda url: (asked.append(url), WELL)[1])  # type: ignore[func-returns-value]
    assert len(asked) == MAX_CLOUDLETS


def around(name: str, *addresses: str, health: Callable[[str], Health], seconds: float = 5) -> list[Nearby]:
    """What is found where one cloudlet announces these addresses at once."""

    def browse(found: Found) -> Callable[[], None]:
        found(name, addresses, 7070)
        return lambda: None

    return discover(seconds, after_first=0.2, browse=browse, health=health)


def test_an_ipv6_address_is_asked_by_its_link() -> None:
    asked: list[str] = []
    found = around("a", "fe80::7%1", "2001:db8::7", health=lambda url: (asked.append(url), WELL)[1])  # type: ignore[func-returns-value]
    assert len(found) == 1
    assert set(asked) <= {"http://[fe80::7%25lo]:7070", "http://[2001:db8::7]:7070"}
    assert found[0].announced == {ip_address("fe80::7"), ip_address("2001:db8::7")}


def test_a_cloudlet_with_many_addresses_counts_once_and_ipv4_has_a_start() -> None:
    asked: list[str] = []
    addresses = ("2001:db8::7", "192.0.2.7", "fe80::7%1")
    found = around("a", *addresses, health=lambda url: (asked.append(url), WELL)[1])  # type: ignore[func-returns-value]
    assert [one.base_url for one in found] == asked == ["http://192.0.2.7:7070"]
    assert found[0].reached is None


def test_a_dead_first_address_costs_no_more_than_the_start() -> None:
    still = threading.Event()

    def health(url: str) -> Health:
        if "192.0.2" in url:
            still.wait(10)
        return WELL

    started = time.monotonic()
    found = around("a", "192.0.2.7", "192.0.2.8", "fe80::7%1", health=health)
    assert time.monotonic() - started < 2
    still.set()
    assert [one.base_url for one in found] == ["http://[fe80::7%25lo]:7070"]
    assert found[0].reached == Reached(IPv6Address("fe80::7%1"), found[0].announced)
    assert ip_address("192.0.2.7") in found[0].announced


def test_a_link_local_address_of_no_link_may_be_on_any() -> None:
    assert on_links("fe80::7", ["eth0", "eth1"]) == ["fe80::7%eth0", "fe80::7%eth1"]
    for address in ("fe80::7%2", "192.0.2.7", "169.254.0.7", "2001:db8::7"):
        assert on_links(address, ["eth0", "eth1"]) == [address]


def test_the_addresses_of_one_cloudlet_are_bounded() -> None:
    asked: list[str] = []

    def health(url: str) -> Health:
        asked.append(url)
        raise RootError("gone")

    numbers = range(1, 50)
    addresses = [*(f"192.0.2.{one}" for one in numbers), *(f"2001:db8::{one}" for one in numbers)]
    assert around("a", *addresses, health=health, seconds=0.5) == []
    assert len(asked) == 2 * MAX_ADDRESSES


@pytest.mark.parametrize(
    ("url", "reached"),
    [
        ("http://192.0.2.7:7070", None),
        ("http://cloudlet.local:7070", None),
        ("http://[2001:db8::7]:7070", "2001:db8::7"),
        ("http://[fe80::7%25lo]:7070", "fe80::7%1"),
        ("http://[fe80::7%25nowhere]:7070", None),
    ],
)
def test_how_a_cloudlet_was_reached(url: str, reached: str | None) -> None:
    found = Nearby(url, WELL).reached
    assert (found and str(found.address)) == reached


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    with pytest.raises(DeviceError, match=r"pip install 'sinfonia-serverless\[jit\]'"):
        discover(0.1)
