"""`sinfonia context`: what a deploy would tell about this device, and what it would not, and why."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from device_sdk.cli import options as shared
from device_sdk.cli.showing import say, table
from device_sdk.context import DeviceContext, Location
from device_sdk.device.allowed import FACTS, GROUPS, PRECISION_KM, Allowed
from device_sdk.device.gathering import Fact, as_context, gather
from device_sdk.device.settings import Settings, read_settings, settings_path

_FACTS = "\n".join(f"  {group:<10}{', '.join(names)}" for group, names in GROUPS.items())
_ABOUT = f"""\
Show what `run` and `deploy` tell the root about this device. Nothing, unless you allow it by name: on the
call with --share, or once for all in ~/.config/sinfonia/config.toml:

  [context]
  allow = ["location", "hardware"]
  location = [40.44, -79.94]        # in the place of what gpsd or GeoClue know
  location_precision_km = 1

facts, by groups:
{_FACTS}

What is not allowed is not looked at.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said on the command line."""
    shared.describe(parser, act, description=_ABOUT)
    shared.add_device(parser)
    shared.add_output(parser)


def act(options: argparse.Namespace) -> int:
    """Print every fact, told or not."""
    settings = read_settings(settings_path(os.environ))
    facts = _gathered(options, settings)
    if options.json:
        withheld = {fact.name: fact.why for fact in facts if not fact.told}
        print(json.dumps({"Told": as_context(facts).to_json(), "Withheld": withheld}))
    else:
        rows = [(fact.name.replace("_", " "), fact.why, _value(fact)) for fact in facts]
        print(table(("FACT", "WHY", "TOLD"), rows))
        say(options, f"allow more with --share, or in {settings.path}")
    return 0


def told(options: argparse.Namespace) -> DeviceContext:
    """What a call tells about this device: what its options and the user's file allow."""
    return as_context(_gathered(options, read_settings(settings_path(os.environ))))


def place(options: argparse.Namespace) -> Location | None:
    """The location of it alone, for calls that tell no more."""
    return as_context(_gathered(options, read_settings(settings_path(os.environ)), {"location"})).location


def _gathered(options: argparse.Namespace, settings: Settings, wanted: Iterable[str] = FACTS) -> list[Fact]:
    given = Location(*options.location) if options.location else None
    facts = {*settings.allowed.facts, *(("location",) if given else ()), *options.share}
    finely = options.precision if options.precision is not None else settings.precision_km
    if finely is None and given:
        finely = 0.0  # it is the user's own word
    allowed = Allowed.of(facts, PRECISION_KM if finely is None else finely)
    return gather(replace(allowed, facts=allowed.facts & set(wanted)), given or settings.location)


def _value(fact: Fact) -> str:
    value = fact.value
    if value is None:
        return "-"
    if isinstance(value, Location):
        within = f" ±{value.accuracy_m:g} m" if value.accuracy_m is not None else ""
        return f"{value.latitude:g},{value.longitude:g}{within}"
    if fact.name == "memory":
        return f"{value / 2**30:.1f} GiB"
    if fact.name == "battery":
        return f"{value:g} %"
    return ("yes" if value else "no") if isinstance(value, bool) else _plain(value)


def _plain(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
