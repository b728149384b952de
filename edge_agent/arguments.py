"""The command line of `sinfonia-agent`: called by `__main__.py`. Options are added by the settings of the
rooms that they are for; here they are put in groups.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edge_agent.config_file import with_file
from edge_agent.deployments import lease_settings, site_settings
from edge_agent.nearby import nearby_settings, pair_command
from edge_agent.on_kubernetes import placement
from edge_agent.on_podman import podman_settings
from edge_agent.provisioning import bundle_settings
from edge_agent.recipes import recipe_settings
from edge_agent.roots import resource_settings, root_settings
from edge_agent.serving import serving_settings
from edge_agent.tunnels import gateway_settings

_STATE = Path("/var/lib/sinfonia-agent")

_ABOUT = """\
Make this machine a cloudlet: it runs backends of apps for devices nearby.

The agent tells roots that it is there, starts a backend when it is asked to, and lets the device that
asked reach it through a WireGuard tunnel: that backend, and nothing else.
"""

_EXAMPLES = """\
examples:
  a cloudlet with Podman, known to one root:
    sinfonia-agent run --root https://root.example/api --runtime podman --recipes ./recipes \\
        --listen 192.0.2.7:7070 --location 40.4433,-79.9436
  the same on a cluster, known to two roots, for clients of one network only:
    sinfonia-agent run --root URL --root URL --runtime kubernetes --recipes https://recipes.example/ \\
        --listen 192.0.2.7:7070 --accept 192.0.2.0/24
  behind NAT, for one tenant of a root that asks for an invitation:
    sinfonia-agent run --root URL --not-callable --tenant acme --invitation-file ./code \\
        --recipes-from-roots --runtime podman --wireguard-endpoint 203.0.113.9
  at home, without any root, found by devices on the same network:
    sinfonia-agent run --announce --runtime podman --recipes ./recipes --listen 192.168.1.5:7070

It needs: root rights; ip, wg and nft, and wireguard-go where the kernel has no WireGuard; helm; and podman
or a cluster. Devices have to reach the WireGuard port (UDP), roots the API (TCP).
It ends on SIGTERM or SIGINT, saying goodbye. Before maintenance: sinfonia-agent drain.
Exit status: 0 ended when told to, 2 something has to be changed first (one line says what), 1 anything else.
"""


_CHECK = """\
Look at everything that `run` would need with the same options, change nothing, and say for each thing whether
it is there (✓), should be looked at (!), has to be changed (✗), or can't be told from here (?), with what to
do. While an agent runs here, the ports that it uses are not taken for somebody else's.
Exit status: 0 all is well, 1 something should be looked at, 2 something has to be changed.
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser, with everything an operator has to know in its help."""
    parser = argparse.ArgumentParser(
        prog="sinfonia-agent", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"sinfonia-agent {own_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run the agent in the foreground",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check = commands.add_parser(
        "check",
        help="look at this machine, the cluster and the roots, and say what is missing",
        description=_CHECK,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for command in (run, check):
        _add_options(command)
    for name, text in (
        ("drain", "begin nothing new; what runs goes on, also over restarts, until undrain"),
        ("undrain", "take new backends again"),
    ):
        _state(commands.add_parser(name, help=text, description=text))
    pair = commands.add_parser("pair", help="show a code by which a device nearby is paired; list, forget")
    pair_command.add_options(pair)
    _state(pair)
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The parsed command line, with what the file of `--config` adds; raises `SettingsError`."""
    options = argparse.ArgumentParser()
    _add_options(options)
    known = {word.removeprefix("--") for word in options._option_string_actions}  # noqa: SLF001 - told nowhere else
    return make_parser().parse_args(with_file(argv, known, root_settings.OBJECTS))


def own_version() -> str:
    """The installed distribution's version."""
    try:
        return version("sinfonia-serverless")
    except PackageNotFoundError:
        return "0 (not installed)"


def _add_options(command: argparse.ArgumentParser) -> None:
    """What `run` and `check` take, and the file of `--config` too."""
    _what(command.add_argument_group("what it runs"))
    lease_settings.add_options(command)
    recipe_settings.add_options(command)
    placement.add_options(command)
    where = command.add_argument_group("where it is reached")
    serving_settings.add_options(where)
    gateway_settings.add_options(where)
    whom = command.add_argument_group("who finds it")
    root_settings.add_options(whom)
    nearby_settings.add_options(whom)
    bundle_settings.add_options(whom)
    site_settings.add_options(whom)
    what_it_is = command.add_argument_group("what roots choose and admit it by")
    root_settings.add_admission_options(what_it_is)
    site_settings.add_offer_options(what_it_is)
    _how(command.add_argument_group("how it works"))


def _what(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--runtime", choices=("podman", "kubernetes"), required=True, help="where backends run"
    )
    group.add_argument("--recipes", metavar="DIR|URL", help="where recipes and charts are")
    root_settings.add_recipe_options(group)
    group.add_argument(
        "--kubeconfig", metavar="PATH", help="default: the pod's own account, else ~/.kube/config"
    )
    podman_settings.add_options(group)


def _how(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--config",
        metavar="FILE",
        help="YAML with options by their names, as name: shop-7 and root: [URL, URL]; those given here win",
    )
    _state(group)
    resource_settings.add_options(group)
    group.add_argument("--helm", metavar="PATH", help="the helm program (default: the one on the PATH)")
    group.add_argument(
        "--json", action="store_true", help="print one line of JSON when it serves, and log in JSON"
    )
    group.add_argument("--verbose", action="store_true", help="log more")


def _state(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--state",
        default=str(_STATE),
        metavar="DIR",
        help="its identity and keys; keep it over restarts (default: %(default)s)",
    )
