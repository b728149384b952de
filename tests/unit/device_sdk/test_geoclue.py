import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_sdk.device.bus import Bus, BusError, Variant, message, read, written
from device_sdk.device.geoclue import ask_geoclue

OK = b"OK 1234deadbeef\r\n"
ANSWER = message(2, 1, [(5, "u", 1)], [("s", ":1.1")])


@pytest.mark.parametrize(
    ("kind", "value"),
    [("s", "né"), ("o", "/a/b"), ("u", 7), ("d", -79.9436), ("i", -1), ("g", "sv"), ("b", 1)],
)
def test_what_is_written_is_read_again(kind: str, value: object) -> None:
    for before in (b"", b"x", b"xxxxx"):
        data = written(written(before, kind, value), "v", Variant(kind, value))
        first, at = read(data, len(before), kind)
        assert first == value
        assert read(data, at, "v") == (value, len(data))


@given(st.binary(max_size=64), st.sampled_from("syvogud"))
def test_reading_nonsense_ends_with_few_errors(data: bytes, kind: str) -> None:
    with contextlib.suppress(struct.error, LookupError, UnicodeDecodeError):
        read(data, 0, kind)


class Daemon:
    """A bus that says what a test wants it to."""

    def __init__(self, path: Path) -> None:
        self.path, self.says, self.stop = str(path), b"", threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(100)
            connection.sendall(self.says)
            self.stop.wait(20)

    def close(self) -> None:
        self.stop.set()
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(self.path)
        self._thread.join(10)
        self._listener.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "bus")
    yield made
    made.close()


@pytest.mark.parametrize(
    "says",
    [
        b"REJECTED EXTERNAL\r\n",
        b"x" * 2000,
        OK,
        OK + b"B" + b"\0" * 40,
        OK + b"l\2\0\1" + b"\xff" * 12,
        OK + ANSWER[:16] + b"\xff" * 400,
        OK + ANSWER + message(2, 2, [(5, "u", 2)], [("u", 5)]) + message(3, 3, [(5, "u", 3)], [("s", "no")]),
        OK + ANSWER + message(2, 2, [(5, "u", 2)], [("v", Variant("v", Variant("s", "deep")))]),
        OK + message(4, 1, [], []) * 100,
    ],
    ids=["rejected", "endless", "silent", "other order", "large", "nonsense", "refused", "deep", "signals"],
)
def test_a_strange_bus_is_no_geoclue(daemon: Daemon, says: bytes) -> None:
    daemon.says = says
    place, why = ask_geoclue(1.0, daemon.path, 0.5)
    assert place is None
    assert why.startswith("no GeoClue")


def test_no_bus_is_told(tmp_path: Path) -> None:
    assert ask_geoclue(1.0, str(tmp_path / "none"))[0] is None
    with pytest.raises(OSError, match="No such file"):
        Bus(str(tmp_path / "none"))
    assert issubclass(BusError, OSError)
