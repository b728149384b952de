"""The example app against a backend of a few lines: what counts as a frame's way, and what goes wrong."""

import itertools
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from device_sdk.examples.mirror.app import Mirror
from device_sdk.examples.mirror.backend import Backend, BackendError
from device_sdk.examples.mirror.camera import Picture, moving_disc

HEAD, ANSWER = struct.Struct("!4sIHH"), struct.Struct("!IHHQQQ")


class Clock:
    """A millisecond goes by whenever somebody looks."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def serve(peer: socket.socket, frames: int, wrong: int = 0) -> None:
    """Send `frames` pictures back as they are, then end; `wrong` is added to their numbers."""
    with peer, peer.makefile("rb") as incoming:
        while frames and (head := incoming.read(HEAD.size)):
            _, number, width, height = HEAD.unpack(head)
            grey = incoming.read(width * height)
            frames -= bool(grey)
            peer.sendall(ANSWER.pack(number + wrong, width, height, 0, 0, 0) + grey)


class Backends:
    """Where `connect` leads: each serves as many frames as `each` says, in turn; None can't be reached."""

    def __init__(self, clock: Clock, *each: int | None) -> None:
        self._clock, self._each = clock, iter(each)
        self._threads: list[threading.Thread] = []

    def connect(self, _address: tuple[str, int], _timeout: float) -> socket.socket:
        self._clock.now += 10  # seconds
        frames = next(self._each)
        if frames is None:
            raise ConnectionRefusedError("nobody is there")
        ours, theirs = socket.socketpair()
        self._threads.append(threading.Thread(target=serve, args=(theirs, frames), daemon=True))
        self._threads[-1].start()
        return _Pair(ours)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()


class _Pair(socket.socket):
    """One end of a pair, which knows no TCP."""

    def __init__(self, one: socket.socket) -> None:
        super().__init__(one.family, one.type, one.proto, one.detach())
        self.settimeout(30)

    def setsockopt(self, *_options: object) -> None:
        pass


def mirror(clock: Clock, backends: Backends, shown: list[Picture], places: Iterator[str]) -> Mirror:
    return Mirror(backends.connect, lambda: next(places), shown.append, clock, clock.sleep)


def test_connecting_is_no_part_of_a_frames_way() -> None:
    clock, shown = Clock(), []
    backends = Backends(clock, 40)
    app = mirror(clock, backends, shown, itertools.repeat("here"))
    frames = list(app.run(moving_disc(32, 24), 35, 10))
    backends.join()
    assert len(frames) == len(shown) == 35
    assert app.lost == 0
    assert max(frame.total for frame in frames) < 20  # milliseconds: of looking at the clock
    assert shown == list(itertools.islice(moving_disc(32, 24), 35))


def test_a_frame_that_is_lost_is_counted_and_the_next_goes_where_the_name_leads_then() -> None:
    clock, shown = Clock(), []
    backends = Backends(clock, 2, None, 3)
    app = mirror(clock, backends, shown, itertools.chain(["here"] * 3, itertools.repeat("there")))
    frames = list(app.run(moving_disc(32, 24), 7, 10))
    backends.join()
    assert [frame.cloudlet for frame in frames] == ["here", "here", "there", "there", "there"]
    assert app.lost == 2
    assert app.trouble == "nobody is there"


def test_an_answer_to_another_frame_is_told() -> None:
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=serve, args=(theirs, 1, 1), daemon=True)
    thread.start()
    with _Pair(ours) as connection, pytest.raises(BackendError, match="another frame"):
        Backend(connection, Clock()).outline(Picture(2, 2, bytes(4)))
    thread.join(30)
