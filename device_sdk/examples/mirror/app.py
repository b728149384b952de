"""The app itself: frame after frame to the backend and back, wherever the backend is.

Called by `__main__.py`. A way is `Association.connect` or `socket.create_connection`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from device_sdk.errors import SinfoniaError
from device_sdk.examples.mirror.backend import Backend
from device_sdk.examples.mirror.breakdown import Frame
from device_sdk.examples.mirror.camera import Picture

TIMEOUT_SECONDS = 5.0
_COMPARE_EVERY = 30  # frames
_PAUSE_SECONDS = 0.2  # before the next try, where there is no backend
PORT = 8080


@dataclass
class Mirror:
    """`connect` makes a connection to `(name, port)`, `place` says where that leads.

    `show` gets what came back. `frames` are those that came back, `lost` counts the others. `clock`: in
    seconds.
    """

    connect: Callable[[tuple[str, int], float], socket.socket]
    place: Callable[[], str]
    show: Callable[[Picture], None]
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    name: str = "mirror"
    frames: list[Frame] = field(default_factory=list)
    lost: int = 0
    trouble: str = ""
    _backend: Backend | None = None

    def run(self, camera: Iterator[Picture], wanted: int, fps: float) -> Iterator[Frame]:
        """Send `wanted` frames, at most `fps` a second; a frame that was due while another was under way is
        left out, as a camera's would be. Yields those that come back.
        """
        start = self.clock()
        due = start
        try:
            for _ in range(wanted):
                self.sleep(max(0.0, due - self.clock()))
                begun = self.clock()
                due = max(due + 1 / fps, begun)
                frame = self._frame(next(camera), begun, start)
                if frame is not None:
                    yield frame
        finally:
            self._hang_up()

    def _frame(self, picture: Picture, begun: float, start: float) -> Frame | None:
        try:
            waited = self.clock()
            backend = self._connected()
            place = self.place()
            if len(self.frames) % _COMPARE_EVERY == _COMPARE_EVERY - 1:
                backend.compare_clocks()
            begun += self.clock() - waited  # connecting and comparing are no part of the frame's way
            answer = backend.outline(picture)
        except (OSError, SinfoniaError) as error:
            self.lost += 1
            self.trouble = str(error)
            self._hang_up()
            self.sleep(_PAUSE_SECONDS)
            return None
        self.show(answer.picture)
        frame = Frame.of(begun, answer, self.clock(), start, place)
        self.frames.append(frame)
        return frame

    def _connected(self) -> Backend:
        """The connection; a new one after the last broke, since the name may lead elsewhere by now."""
        if self._backend is None:
            connection = self.connect((self.name, PORT), TIMEOUT_SECONDS)
            connection.settimeout(TIMEOUT_SECONDS)
            self._backend = Backend(connection, self.clock)
            self._backend.compare_clocks(5)
        return self._backend

    def _hang_up(self) -> None:
        if self._backend is not None:
            self._backend.close()
        self._backend = None
