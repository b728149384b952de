import sys
import threading
import time
from collections.abc import Callable
from uuid import UUID

import pytest

from device_sdk.errors import DeviceError, RootError
from device_sdk.nearby.discovery import MAX_CLOUDLETS, Found, discover
from device_sdk.wire import Health

WELL = Health(UUID(int=1), "near")


def announcing(*places: tuple[float, str, int]) -> tuple[Callable[[Found], Callable[[], None]], list[str]]:
    """A neighbourhood that announces each (after seconds, address, port); the list tells when it is left."""
    log: list[str] = []

    def browse(found: Found) -> Callable[[], None]:
        def tell() -> None:
            for seconds, address, port in places:
                threading.Event().wait(seconds)
                found(address, port)

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


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "224.0.0.251", "255.255.255.255", "fe80::1"])
def test_a_neighbour_cannot_make_the_device_call_itself(address: str) -> None:
    browse, _ = announcing((0, address, 7070))
    assert discover(0.1, browse=browse, health=lambda _url: WELL) == []


def test_a_flood_of_announcements_is_bounded() -> None:
    asked: list[str] = []
    browse, _ = announcing(*((0, f"192.0.2.{number}", 7070) for number in range(100)))
    discover(0.5, browse=browse, health=lambda url: (asked.append(url), WELL)[1])  # type: ignore[func-returns-value]
    assert len(asked) == MAX_CLOUDLETS


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    with pytest.raises(DeviceError, match=r"pip install 'sinfonia-serverless\[jit\]'"):
        discover(0.1)
