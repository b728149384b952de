"""The command line of the example app."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from device_sdk import SinfoniaError, associate
from device_sdk.associating.events import AssociationEvent
from device_sdk.examples.mirror import breakdown, camera
from device_sdk.examples.mirror.app import Mirror
from device_sdk.examples.mirror.plot import plot

APP = "6d697272-6f72-4000-8000-000000000000"
_wait = time.sleep  # noqa: TID251 - the program's own, handed to the app as an argument
_EPILOG = f"""\
Two ways, the same app: it gets its backend itself, and keeps it while cloudlets come and go,
  python -m device_sdk.examples.mirror https://root.example.org --plot times.svg
or knows nothing of Sinfonia, and is started behind a tunnel:
  sinfonia run https://root.example.org {APP} -- python -m device_sdk.examples.mirror --at mirror

Where the time goes: capture (frame made or read), uplink, queue (other devices' frames before it),
processing, downlink, show. Queue and processing are the backend's own word; uplink and downlink are told
apart by comparing the clocks, exactly to half the least round trip (`uncertain` in the files).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it. Returns the exit status: 0, 1 if no frame came back, else that of the error."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except KeyboardInterrupt:
        return 130
    except (SinfoniaError, ValueError, OSError) as error:
        sys.stderr.write(f"mirror: {error}\n")
        return error.exit_status if isinstance(error, SinfoniaError) else 2


def _run(options: argparse.Namespace) -> int:
    pictures = camera.film(options.film) if options.film else camera.moving_disc(*options.size)
    pictures = itertools.chain([next(pictures)], pictures)  # a wrong file is told before anything is deployed
    last: list[camera.Picture] = []

    def show(picture: camera.Picture) -> None:
        last[:] = [picture]

    with _mirror(options, show) as mirror, contextlib.suppress(KeyboardInterrupt):
        _follow(mirror, mirror.run(pictures, options.frames, options.fps), options)
    told = breakdown.summary(mirror.frames, mirror.lost)
    sys.stdout.write(breakdown.table(told) + "\n")
    if options.csv:
        breakdown.write_csv(options.csv, mirror.frames)
    if options.json:
        breakdown.write_json(options.json, mirror.frames, told)
    if options.plot:
        plot(options.plot, mirror.frames)
    if options.picture and last:
        last[0].save(options.picture)
    if mirror.trouble and not mirror.frames:
        sys.stderr.write(f"mirror: {mirror.trouble}\n")
    return 0 if mirror.frames else 1


@contextlib.contextmanager
def _mirror(options: argparse.Namespace, show: Callable[[camera.Picture], None]) -> Iterator[Mirror]:
    if options.at:
        at = options.at

        def connect(address: tuple[str, int], timeout: float) -> socket.socket:
            return socket.create_connection(address, timeout)

        yield Mirror(connect, lambda: at, show, time.perf_counter, _wait, at)
        return
    with associate(
        options.root,
        options.app,
        location=options.location,
        jit=options.jit,
        choose=options.choose,
        on_event=_tell,
    ) as association:
        yield Mirror(association.connect, lambda: association.target.place, show, time.perf_counter, _wait)


def _follow(mirror: Mirror, frames: Iterator[breakdown.Frame], options: argparse.Namespace) -> None:
    """A line that is written over on a terminal; elsewhere nothing, the summary follows."""
    live = sys.stdout.isatty() and not options.quiet
    for frame in frames:
        if live:
            width = os.get_terminal_size(sys.stdout.fileno()).columns
            sys.stdout.write("\r\x1b[K" + f"{len(mirror.frames):5} {frame.line()}"[: width - 1])
            sys.stdout.flush()
    if live:
        sys.stdout.write("\n")


def _tell(event: AssociationEvent) -> None:
    sys.stderr.write(f"\n{event.kind}: {event.cloudlet} {event.reason}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m device_sdk.examples.mirror",
        description="A camera's frames to a backend nearby and back as outlines, with the time of each.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("root", nargs="?", metavar="ROOT", help="URL of the root that finds a backend")
    where.add_argument("--at", metavar="HOST", help="where the backend is, port 8080")
    parser.add_argument("--app", default=APP, metavar="UUID", help="the backend's app [%(default)s]")
    parser.add_argument("--location", type=_location, metavar="LAT,LON", help="tells the root")
    parser.add_argument("--jit", choices=("prefer", "only", "off"), default="prefer", help="[prefer]")
    parser.add_argument("--choose", choices=("first", "random", "fastest"), default="first", help="[first]")
    parser.add_argument("--film", type=Path, metavar="FILE", help="PGM pictures, one after another [a disc]")
    text = "of the disc's frames, in pixels [320x240]"
    parser.add_argument("--size", type=_size, default=(320, 240), metavar="WxH", help=text)
    parser.add_argument("--frames", type=_frames, default=300, metavar="N", help="how many [300]")
    parser.add_argument("--fps", type=_fps, default=15.0, metavar="N", help="at most so many a second [15]")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="a line for each frame")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the summary and each frame")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="each frame as a bar of its parts: an SVG")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="the last outline, a PGM")
    parser.add_argument("--quiet", action="store_true", help="no live line")
    return parser


def _size(text: str) -> tuple[int, int]:
    width, height = (int(word) for word in text.split("x"))
    if not (min(width, height) >= 3 and width * height <= camera.MOST_BYTES):
        raise argparse.ArgumentTypeError("from 3x3 to 1280x720, please")
    return width, height


def _frames(text: str) -> int:
    if not 1 <= int(text) <= 10**6:
        raise argparse.ArgumentTypeError("from 1 to 1000000, please")
    return int(text)


def _fps(text: str) -> float:
    if not 0.1 <= float(text) <= 1000:
        raise argparse.ArgumentTypeError("from 0.1 to 1000, please")
    return float(text)


def _location(text: str) -> tuple[float, float]:
    latitude, longitude = (float(word) for word in text.split(","))
    return latitude, longitude


if __name__ == "__main__":
    sys.exit(main())
