"""What an operator can say of roots: which ones, how it stands with them, and what each may have here. Part
of `settings.py` and `arguments.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_agent.deployments.terms import Share, Terms
from edge_agent.errors import SettingsError
from edge_agent.option_values import within
from edge_agent.roots.invitations import check_invitation, read_invitation
from edge_agent.roots.root_terms import RootTerms, parse_tenant, read_devices, read_root

_ENVIRONMENT = "SINFONIA_INVITATION"
OBJECTS = ("root", "devices")
"""Options that may be objects in a file."""


@dataclass(frozen=True)
class RootSettings:
    """`each` has what it is told of itself; `tenant` and `invitation` are for those that say none.
    `callable` False: no root can reach the API; commands are fetched. `recipes` is off by default: whose
    recipes run here is the operator's choice, and a root's tenants write theirs freely.
    """

    each: tuple[RootTerms, ...] = ()
    devices: Share = field(default_factory=Share)
    interval_seconds: float = 15.0
    """The pace of the published Sinfonia."""
    callable: bool = True
    only: bool = False
    recipes: bool = False
    tenant: str | None = None
    invitation: str | None = field(default=None, repr=False)

    @classmethod
    def from_arguments(cls, arguments: Any, environ: Mapping[str, str]) -> RootSettings:
        """Check the parsed command line; raises `SettingsError`."""
        for name in ("not_callable", "only_from_roots", "recipes_from_roots"):
            if getattr(arguments, name) and not arguments.root:
                raise SettingsError(f"--{name.replace('_', '-')}: there is no --root")
        return cls(
            _each(arguments.root),
            _devices(arguments),
            within(arguments.interval_seconds, "--interval-seconds", 1, 86_400),
            not arguments.not_callable,
            arguments.only_from_roots,
            arguments.recipes_from_roots,
            parse_tenant(arguments.tenant, "--tenant"),
            _invitation(arguments, environ),
        )

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the roots are, by which they are known here."""
        return tuple(root.url for root in self.each)

    def terms(self) -> Terms:
        """What each may have here, devices that ask themselves too."""
        return Terms({"": self.devices, **{root.url: root.share for root in self.each}})


def add_options(group: argparse._ActionsContainer) -> None:
    """Add the options that say which roots there are to a group of the command line."""
    group.add_argument(
        "--root",
        action="append",
        default=[],
        metavar="URL|TERMS",
        help="a root to serve; may be repeated. Terms are an object of --config, or its JSON: url, capacity "
        "(deployments at a time), apps (those that it may deploy), price, jurisdiction, tenant, "
        "invitation-file",
    )
    group.add_argument(
        "--devices",
        metavar="TERMS",
        help="what devices may have that call it without a root, likewise: capacity, apps",
    )
    group.add_argument(
        "--not-callable",
        action="store_true",
        help="roots can't reach the API (NAT): it asks them for their commands",
    )
    group.add_argument("--only-from-roots", action="store_true", help="refuse calls that no root has signed")
    group.add_argument(
        "--interval-seconds",
        type=float,
        default=15.0,
        metavar="S",
        help="the pace of keepalives it asks roots for (default: 15)",
    )


def add_recipe_options(group: argparse._ActionsContainer) -> None:
    """Add the option for roots' own recipes to a group of the command line."""
    group.add_argument(
        "--recipes-from-roots",
        action="store_true",
        help="run apps that --recipes does not know by the recipe of the root that asks: charts of its "
        "tenants, held to the same limits",
    )


def add_admission_options(group: argparse._ActionsContainer) -> None:
    """Add the options that roots admit a cloudlet by to a group of the command line."""
    group.add_argument("--tenant", metavar="ID", help="whose own cloudlet it is (default: shared)")
    group.add_argument(
        "--invitation",
        metavar="CODE",
        help="lets it in at roots that ask for one; a secret, so rather --invitation-file, or the variable "
        f"{_ENVIRONMENT}",
    )
    group.add_argument("--invitation-file", metavar="FILE", help="a file with nothing but the invitation")


def _each(given: Sequence[str]) -> tuple[RootTerms, ...]:
    roots = tuple(read_root(said, "--root") for said in given)
    known: set[str] = set()
    for url in (root.url.rstrip("/") for root in roots):
        if url in known:
            raise SettingsError(f"--root {url}: is given twice")
        known.add(url)
    return roots


def _devices(arguments: Any) -> Share:
    if arguments.devices is None:
        return Share()
    if arguments.only_from_roots:
        raise SettingsError("--devices: --only-from-roots refuses devices that call it themselves")
    return read_devices(arguments.devices, "--devices")


def _invitation(arguments: Any, environ: Mapping[str, str]) -> str | None:
    if arguments.invitation and arguments.invitation_file:
        raise SettingsError("--invitation, --invitation-file: give one of them")
    if arguments.invitation_file:
        return read_invitation(arguments.invitation_file, "--invitation-file")
    code = arguments.invitation or environ.get(_ENVIRONMENT)
    return check_invitation(code) if code is not None else None
