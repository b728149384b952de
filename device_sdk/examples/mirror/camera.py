"""Frames of grey: from a file, or of a disc that moves, for devices without a camera. Called by the app."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 1280 * 720  # what the backend takes
_HEADER = re.compile(rb"P5\s+(?:#[^\n]*\n\s*)*(\d{1,5})\s+(\d{1,5})\s+255\s")
_MOST_HEADER = 200


@dataclass(frozen=True)
class Picture:
    """`width` times `height` bytes of grey, row by row; 255 is white."""

    width: int
    height: int
    grey: bytes

    def save(self, path: Path) -> None:
        """Write it as a PGM, which most viewers show."""
        path.write_bytes(b"P5\n%d %d\n255\n" % (self.width, self.height) + self.grey)


def moving_disc(width: int = 320, height: int = 240) -> Iterator[Picture]:
    """A bright disc on its way around before a dim slope, for ever. Sizes in pixels."""
    slope = bytes(40 + 60 * x // width for x in range(width))
    radius = max(2, height // 6)
    for number in itertools.count():
        angle = number / 20
        middle = (round(width * (0.5 + 0.3 * math.cos(angle))), round(height * (0.5 + 0.3 * math.sin(angle))))
        rows = []
        for y in range(height):
            half = math.isqrt(max(0, radius**2 - (y - middle[1]) ** 2))
            left, right = max(0, middle[0] - half), min(width, middle[0] + half)
            rows.append(slope[:left] + b"\xdc" * (right - left) + slope[right:] if half else slope)
        yield Picture(width, height, b"".join(rows))


def film(path: Path) -> Iterator[Picture]:
    """The frames of a file of PGM pictures (P5, 8 bits) one after another, over and over again.

    `ffmpeg -i film.mp4 -pix_fmt gray -c:v pgm -f image2pipe film.pgm` makes one. Raises `ValueError` for
    what is none, `OSError` for a file that can't be read.
    """
    while True:
        with path.open("rb") as file:
            seen = False
            while (picture := _next(file, path)) is not None:
                seen = True
                yield picture
        if not seen:
            raise ValueError(f"{path} is empty.")


def _next(file: BinaryIO, path: Path) -> Picture | None:
    begun = file.tell()
    head = file.read(_MOST_HEADER)
    if not head:
        return None
    found = _HEADER.match(head)
    if not found:
        raise ValueError(f"{path} holds something else than PGM pictures (P5, 8 bits) at byte {begun}.")
    width, height = int(found[1]), int(found[2])
    if not 0 < width * height <= MOST_BYTES:
        raise ValueError(f"{path}: a frame of {width} x {height}; at most 1280 x 720, please.")
    file.seek(begun + found.end())
    grey = file.read(width * height)
    if len(grey) < width * height:
        raise ValueError(f"{path} ends within a frame.")
    return Picture(width, height, grey)
