import json
import math
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_sdk.context import DeviceContext, Location
from device_sdk.device import network
from device_sdk.device.allowed import FACTS, Allowed
from device_sdk.device.gathering import Sources, as_context, device_context, gather
from device_sdk.device.location import ask_gpsd, rounded
from device_sdk.device.settings import read_settings, settings_path
from device_sdk.errors import DeviceError, RequestError

EARTH_KM = 6371.0
ADDRESSES = [
    {"ifname": "lo", "addr_info": [{"local": "127.0.0.1", "scope": "host"}]},
    {
        "ifname": "wlan0",
        "addr_info": [
            {"local": "192.0.2.50", "scope": "global"},
            {"local": "fe80::1", "scope": "link"},
            {"local": "2001:db8::50", "scope": "global"},
        ],
    },
]


def told(command) -> str:
    if command[:3] == ["ip", "-json", "address"]:
        return json.dumps(ADDRESSES)
    if command[:3] == ["ip", "-json", "route"]:
        return json.dumps([{"dst": "default", "dev": "wlan0"}])
    return '{"type":"u","data":1}'


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def phone(tmp_path: Path) -> Sources:
    write(tmp_path / "proc/meminfo", "MemTotal:        4096 kB\nMemFree: 1 kB\n")
    write(tmp_path / "sys/class/net/wlan0/uevent", "DEVTYPE=wlan\n")
    write(tmp_path / "sys/class/net/wlan0/type", "1\n")
    write(tmp_path / "sys/class/drm/card0/device/vendor", "0x10de\n")
    write(tmp_path / "sys/class/drm/card0-HDMI-A-1/device/vendor", "0x8086\n")
    for name, kind, scope, charge in (("AC", "Mains", "", ""), ("BAT0", "Battery", "", "81")):
        write(tmp_path / f"sys/class/power_supply/{name}/type", f"{kind}\n")
        write(tmp_path / f"sys/class/power_supply/{name}/scope", scope)
        write(tmp_path / f"sys/class/power_supply/{name}/capacity", f"{charge}\n")
    write(tmp_path / "sys/class/power_supply/A-mouse/type", "Battery\n")
    write(tmp_path / "sys/class/power_supply/A-mouse/scope", "Device\n")
    write(tmp_path / "sys/class/power_supply/A-mouse/capacity", "3\n")
    return Sources(tmp_path, told, lambda _km: (Location(40.4433, -79.9436, 12.0), "gpsd"))


def test_nothing_is_told_unless_it_is_allowed_and_nothing_else_is_looked_at(phone: Sources) -> None:
    def forbidden(*_arguments):
        raise AssertionError("looked at")

    blind = Sources(phone.root, forbidden, forbidden)
    assert device_context(sources=blind) == DeviceContext()
    facts = gather(Allowed.of(["memory"]), sources=blind)
    assert [fact.name for fact in facts] == list(FACTS)
    assert {fact.name: fact.why for fact in facts if not fact.told} == {
        name: "not allowed" for name in FACTS if name != "memory"
    }
    assert as_context(facts).to_json() == {"hardware": {"memory_bytes": 4096 * 1024}}


def test_all_of_it_is_what_the_contract_has(phone: Sources) -> None:
    context = device_context("all", precision_km=0, sources=phone)
    assert DeviceContext.from_json(context.to_json()) == context
    said = context.to_json()
    assert said["location"] == {"latitude": 40.4433, "longitude": -79.9436, "accuracy_m": 12.0}
    assert said["network"] == {
        "addresses": ["192.0.2.50", "2001:db8::50"],
        "link_type": "wifi",
        "metered": True,
    }
    assert said["hardware"] | {"cores": 1} == {
        "cores": 1,
        "memory_bytes": 4096 * 1024,
        "gpu": "NVIDIA GPU",
        "battery_percent": 81.0,
    }


def test_a_system_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    silent = Sources(tmp_path, lambda _command: "", lambda _km: (None, "no gpsd at 127.0.0.1:2947"))
    facts = {fact.name: fact for fact in gather(Allowed.of(["all"]), sources=silent)}
    assert [name for name, fact in facts.items() if fact.told] == ["cores"]
    assert facts["location"].why == "not known: no gpsd at 127.0.0.1:2947"
    for nonsense in ("nonsense", "[]", "[1]", "{}", '[{"dev":"../../etc"}]', '[{"addr_info":null}]'):
        assert network.addresses(lambda _command, said=nonsense: said) is None
        assert network.link_type(tmp_path, lambda _command, said=nonsense: said) is None
        assert network.metered(lambda _command, said=nonsense: said) is None


@pytest.mark.parametrize(
    ("kind", "link"), [("1", "ethernet"), ("519", "mobile"), ("65534", "tunnel"), ("7", None)]
)
def test_links_are_told_by_their_type(tmp_path: Path, kind: str, link: str | None) -> None:
    write(tmp_path / "sys/class/net/wlan0/type", f"{kind}\n")
    assert network.link_type(tmp_path, told) == link


@pytest.mark.parametrize(("names", "precision"), [(["flight"], 1.0), ([], -1.0), ([], math.nan)])
def test_what_can_not_be_allowed_is_refused(names: list[str], precision: float) -> None:
    with pytest.raises(RequestError):
        Allowed.of(names, precision)


def distance_km(one: Location, other: Location) -> float:
    a, b = math.radians(one.latitude), math.radians(other.latitude)
    turned = math.radians(one.longitude - other.longitude)
    half = math.sin((a - b) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(turned / 2) ** 2
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(half)))


@given(st.floats(-89, 89), st.floats(-180, 180), st.floats(0.1, 100))
def test_rounding_loses_what_it_says_and_tells_no_more_the_second_time(
    latitude: float, longitude: float, precision: float
) -> None:
    place = Location(latitude, longitude)
    found = rounded(place, precision)
    assert found.accuracy_m is not None
    assert distance_km(place, found) * 1000 <= found.accuracy_m * 1.01 + 2  # the earth is no plane
    again = rounded(found, precision)
    assert distance_km(found, again) < 0.002


def test_neighbours_become_one_place() -> None:
    places = {
        (found.latitude, found.longitude)
        for step in range(100)
        for found in [rounded(Location(40.4433 + step * 1e-6, -79.9436), 1.0)]
    }
    assert len(places) == 1
    assert rounded(Location(90, 180), 1.0).latitude <= 90


@pytest.fixture
def gpsd() -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    lines: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                assert connection.recv(100).startswith(b"?WATCH=")
                connection.sendall(b"".join(lines))

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname(), lines
        thread.join(10)


FIX = b'{"class":"TPV","mode":3,"lat":40.4433,"lon":-79.9436,"eph":4.5}\n'


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ([b'{"class":"VERSION"}\n', b'{"class":"TPV","mode":1}\n', FIX], Location(40.4433, -79.9436, 4.5)),
        (
            [b"\xff\n", b"[]\n", b'{"class":"TPV","mode":3,"lat":999,"lon":0}\n', FIX],
            Location(40.4433, -79.9436, 4.5),
        ),
        ([b'{"class":"TPV","mode":"3"}\n', b'{"class":"TPV","mode":3,"lat":null,"lon":1}\n'], None),
        ([b'{"class":"TPV","mode":3,"lat":40,"lon":NaN}\n'], None),
        ([b"x" * 300_000], None),
        ([], None),
    ],
)
def test_gpsd_is_asked_and_not_trusted(gpsd, lines: list[bytes], place: Location | None) -> None:
    address, sent = gpsd
    sent.extend(lines)
    found, why = ask_gpsd(address, 5.0)
    assert found == place
    assert ("has no fix" in why) == (place is None)


def test_no_gpsd_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    assert ask_gpsd(address, 1.0) == (None, f"no gpsd at 127.0.0.1:{address[1]}")


def test_the_users_file_allows(tmp_path: Path) -> None:
    path = settings_path({"XDG_CONFIG_HOME": str(tmp_path)})
    assert read_settings(path).allowed == Allowed()
    write(
        path, '[context]\nallow = ["location", "hardware"]\nlocation = [1, 2.5]\nlocation_precision_km = 5\n'
    )
    settings = read_settings(path)
    assert settings.allowed == Allowed.of(["location", "cores", "memory", "gpu", "battery"], 5)
    assert settings.location == Location(1, 2.5)
    assert settings_path({"HOME": "/h"}) == Path("/h/.config/sinfonia/config.toml")


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "context = 1",
        "[context]\nalow = []",
        "[context]\nallow = 'location'",
        "[context]\nallow = ['flight']",
        "[context]\nlocation = [1]",
        "[context]\nlocation = [91, 0]",
        "[context]\nlocation_precision_km = nan",
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(DeviceError, match=r"config\.toml is wrong"):
        read_settings(path)
