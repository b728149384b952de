"""The frames' times as a picture (SVG): a bar for each, of its parts, and the median. Called by the app."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from device_sdk.examples.mirror.breakdown import PARTS, Frame

# Told apart without colours too: from dark to light and back (after Okabe and Ito's palette).
_COLOURS = dict(zip(PARTS, ("#999999", "#0072b2", "#e69f00", "#d55e00", "#56b4e9", "#444444"), strict=True))
_WIDTH, _HEIGHT = 900, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 24, 78, 48
_MOST_BARS = 400
_LINES = 5


def plot(path: Path, frames: Sequence[Frame]) -> None:
    """Write the last 400 frames as an SVG, which browsers show. What is above twice the 95th percentile is
    cut off at the top.
    """
    path.write_text("\n".join(_drawing(frames[-_MOST_BARS:])) + "\n")


def _drawing(frames: Sequence[Frame]) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="13" fill="#222">'
    )
    yield '<title>Motion to photon, frame by frame</title><rect width="100%" height="100%" fill="white"/>'
    yield f'<text x="{_LEFT}" y="24" font-size="17">Motion to photon, frame by frame</text>'
    yield from _legend()
    if frames:
        top = _top(frames)
        yield from _scale(top, frames)
        yield from _bars(frames, top)
        yield from _median(frames, top)
    else:
        yield f'<text x="{_LEFT}" y="{_TOP + 40}">No frame came back.</text>'
    yield "</svg>"


def _legend() -> Iterator[str]:
    for number, (name, colour) in enumerate(_COLOURS.items()):
        x = _LEFT + 112 * number
        yield f'<rect x="{x}" y="40" width="13" height="13" fill="{colour}"/>'
        yield f'<text x="{x + 19}" y="51">{name}</text>'


def _top(frames: Sequence[Frame]) -> float:
    """What the scale ends with, in milliseconds: a round number above what is usual."""
    totals = sorted(frame.total for frame in frames)
    usual = max(min(totals[-1], 2 * totals[int(0.95 * (len(totals) - 1))]), 0.1)
    step = 10.0 ** math.floor(math.log10(usual / _LINES))
    return next(_LINES * step * times for times in (1, 2, 2.5, 5, 10, 20) if _LINES * step * times >= usual)


def _y(value: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * min(value, top) / top


def _scale(top: float, frames: Sequence[Frame]) -> Iterator[str]:
    for number in range(_LINES + 1):
        value = top * number / _LINES
        y = _y(value, top)
        yield f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    yield f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">milliseconds</text>'
    y = _HEIGHT - _BOTTOM + 20
    yield f'<text x="{_LEFT}" y="{y}">{frames[0].at:.1f} s</text>'
    yield f'<text x="{_WIDTH - _RIGHT}" y="{y}" text-anchor="end">{frames[-1].at:.1f} s</text>'
    where = escape(", ".join(dict.fromkeys(frame.cloudlet for frame in frames))[:80])
    yield f'<text x="{_WIDTH / 2}" y="{y + 18}" text-anchor="middle">{len(frames)} frames from {where}</text>'


def _bars(frames: Sequence[Frame], top: float) -> Iterator[str]:
    wide = (_WIDTH - _LEFT - _RIGHT) / len(frames)
    for number, frame in enumerate(frames):
        below = 0.0
        for name, colour in _COLOURS.items():
            above = below + getattr(frame, name)
            low, high = _y(below, top), _y(above, top)
            if low - high >= 0.05:  # less is not seen
                yield (
                    f'<rect x="{_LEFT + wide * number:.2f}" y="{high:.2f}" width="{wide * 0.9:.2f}" '
                    f'height="{low - high:.2f}" fill="{colour}"/>'
                )
            below = above


def _median(frames: Sequence[Frame], top: float) -> Iterator[str]:
    median = statistics.median(frame.total for frame in frames)
    y = _y(median, top)
    yield f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#222" stroke-dasharray="5 4"/>'
    yield (f'<text x="{_WIDTH - _RIGHT}" y="24" text-anchor="end">dashed: the median, {median:.1f} ms</text>')
