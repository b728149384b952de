"""Where a frame's time went, and what of it is told: a live line, a table, CSV, JSON."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from device_sdk.examples.mirror.backend import Answer

PARTS = ("capture", "uplink", "queue", "processing", "downlink", "show")


@dataclass(frozen=True)
class Frame:
    """One frame's way from motion to photon; `at` in seconds since the start, the others in milliseconds.

    The parts add up to `total`. `uncertain`: by how much time may have gone to `uplink` in the place of
    `downlink`, or the other way, since two clocks are only compared through the same network.
    """

    at: float
    total: float
    capture: float
    uplink: float
    queue: float
    processing: float
    downlink: float
    show: float
    uncertain: float
    cloudlet: str

    @classmethod
    def of(cls, begun: float, answer: Answer, shown: float, start: float, cloudlet: str) -> Frame:
        """From moments in seconds: capture began, what the backend said, the picture was there to be seen."""
        # No way takes less than no time: an offset between clocks that says so is wrong by at least as much.
        shift = max(0.0, answer.sent - answer.arrived)
        done = min(answer.done + shift, answer.received)
        seconds = {
            "total": shown - begun,
            "capture": answer.sent - begun,
            "uplink": done - (answer.done - answer.arrived) - answer.sent,
            "queue": answer.begun - answer.arrived,
            "processing": answer.done - answer.begun,
            "downlink": answer.received - done,
            "show": shown - answer.received,
            "uncertain": answer.uncertain,
        }
        parts = {name: round(1000 * value, 3) for name, value in seconds.items()}
        return cls(at=round(begun - start, 6), cloudlet=cloudlet, **parts)

    def line(self) -> str:
        """For people, while it runs."""
        parts = "  ".join(f"{name} {getattr(self, name):.1f}" for name in PARTS)
        return f"{self.total:6.1f} ms = {parts}  [{self.cloudlet}]"


def summary(frames: Sequence[Frame], lost: int) -> dict[str, Any]:
    """Medians and 95th percentiles in milliseconds, of the total and of each part."""
    told: dict[str, Any] = {"frames": len(frames), "lost": lost}
    for name in ("total", *PARTS):
        values = sorted(getattr(frame, name) for frame in frames)
        if values:
            late = values[min(len(values) - 1, int(0.95 * len(values)))]
            told[f"{name}_ms"] = {"median": round(statistics.median(values), 3), "p95": round(late, 3)}
    told["cloudlets"] = list(dict.fromkeys(frame.cloudlet for frame in frames))
    return told


def table(told: dict[str, Any]) -> str:
    """The summary for people."""
    lines = [f"{told['frames']} frames, {told['lost']} lost          median      95 %"]
    for name in ("total", *PARTS):
        figure = told.get(f"{name}_ms")
        if figure:
            lines.append(f"  {name:<12}{figure['median']:>21.1f} ms{figure['p95']:>7.1f} ms")
    return "\n".join(lines)


def write_csv(path: Path, frames: Sequence[Frame]) -> None:
    """A line for each frame, under the names of `Frame`; all but `at` in milliseconds."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Frame)])
        writer.writerows(astuple(frame) for frame in frames)


def write_json(path: Path, frames: Sequence[Frame], told: dict[str, Any]) -> None:
    """The summary, and every frame."""
    path.write_text(json.dumps({"summary": told, "frames": [vars(frame) for frame in frames]}, indent=1))
