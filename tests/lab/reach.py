"""Which places can be reached by TCP from somewhere: a command of busybox that tries all of them at once."""

from __future__ import annotations

from collections.abc import Sequence

Place = tuple[str, int]
"""An IPv4 address and a port."""

_SCRIPT = """
for place in "$@"; do
  echo "$place $(/bin/busybox nc -w {seconds} $place -e /bin/busybox true 2>&1)" &
done
wait
"""


def command(places: Sequence[Place], seconds: int = 10) -> list[str]:
    """What to run there; each place has so many seconds."""
    script = _SCRIPT.format(seconds=seconds)
    return ["/bin/busybox", "sh", "-c", script, "sh", *(f"{address} {port}" for address, port in places)]


def failures(printed: str) -> dict[Place, str]:
    """What each place's connection failed by, empty where it came about, from what the command printed."""
    words = [line.split(" ", 2) for line in printed.splitlines()]
    return {(address, int(port)): text for address, port, text in words}
