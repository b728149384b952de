"""`sinfonia-agent`: reads the command line, makes an `Agent` and runs it until it is told to stop."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edge_agent import logs
from edge_agent.agent import Agent
from edge_agent.arguments import parse
from edge_agent.capabilities import hand_down
from edge_agent.checking import findings
from edge_agent.checking.check import look
from edge_agent.drain import set_draining
from edge_agent.errors import AgentError, SettingsError
from edge_agent.machine import check_machine, own_address, own_address6
from edge_agent.nearby.pair_command import pair
from edge_agent.recipes.charts import find_helm
from edge_agent.settings import Settings

_LOG = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """The `sinfonia-agent` command; returns its exit status."""
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        if arguments.command in ("drain", "undrain"):
            print(set_draining(Path(arguments.state), draining=arguments.command == "drain"))
            return 0
        if arguments.command == "pair":
            print(pair(arguments, time.time))
            return 0
        logs.install(as_json=arguments.json, verbose=arguments.verbose)
        settings = Settings.from_arguments(arguments, own_address, os.environ, own_address6)
        hand_down()
        if arguments.command == "check":
            return _check(settings, arguments)
        check_machine(settings)
        return _run(Agent(settings, find_helm(arguments.helm)), as_json=arguments.json)
    except AgentError as error:
        print(f"sinfonia-agent: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1


def _check(settings: Settings, arguments: argparse.Namespace) -> int:
    found = look(settings, arguments.helm)
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(findings.as_json(found) if arguments.json else findings.as_table(found, colour=colour))
    return findings.status(found)


def _run(agent: Agent, *, as_json: bool) -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop.set())
    try:
        agent.start()
        if not agent.stop.is_set():
            _say_ready(agent, as_json=as_json)
        agent.wait()
    finally:
        agent.close()
    return 0


def _say_ready(agent: Agent, *, as_json: bool) -> None:
    entrance = agent.site.entrance()
    facts = {
        "ready": True,
        "uuid": str(agent.identity.uuid),
        "endpoint": agent.settings.serving.advertise_url,
        "wireguard_endpoint": entrance.endpoint,
        "tunnel_network": str(agent.site.plan.network),
        "gateway": str(entrance.address),
    }
    if as_json:
        print(json.dumps(facts), flush=True)
    else:
        _LOG.info("cloudlet serves", extra={name: value for name, value in facts.items() if name != "ready"})


if __name__ == "__main__":
    sys.exit(main())
