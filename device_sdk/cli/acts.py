"""The commands of `sinfonia`, in the order in which the help lists them. Read by `arguments.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from device_sdk.cli import (
    associate,
    completion,
    context,
    deploy,
    doctor,
    export,
    find,
    pair,
    provision,
    release,
    run,
)

ADD_ACTS: tuple[Callable[[Any], None], ...] = (
    run.add_act,
    associate.add_act,
    find.add_act,
    deploy.add_act,
    release.add_act,
    provision.add_act,
    export.add_act,
    context.add_act,
    doctor.add_act,
    pair.add_act,
    completion.add_act,
)
