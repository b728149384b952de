"""What an operator says of one root, or of devices that ask themselves: a URL, or an object. Read by
`root_settings.py`.

    {"url": "https://root.example/api", "capacity": 10, "apps": ["00000000-0000-0000-0000-000000000000"],
     "price": 0.12, "jurisdiction": "DE", "tenant": "acme", "invitation-file": "/etc/sinfonia/acme"}
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from edge_agent.deployments.site_settings import HIGHEST_PRICE, parse_jurisdiction
from edge_agent.deployments.terms import Share
from edge_agent.errors import InvalidRequest, SettingsError
from edge_agent.fields import integer, number, parse_json, parse_uuid, text
from edge_agent.option_values import matching, parse_url
from edge_agent.roots.invitations import read_invitation

_TENANT = r"[a-z][a-z0-9-]{1,30}"
_MOST_DEPLOYMENTS = 100_000
_MOST_APPS = 1000
_SHARE = ("capacity", "apps")
_ROOT = ("url", *_SHARE, "price", "jurisdiction", "tenant", "invitation-file")


@dataclass(frozen=True)
class RootTerms:
    """A root, its share, and what it admits the cloudlet by; `invitation` is a secret."""

    url: str
    share: Share = field(default_factory=Share)
    tenant: str | None = None
    invitation: str | None = field(default=None, repr=False)


def read_root(said: str, option: str) -> RootTerms:
    """A URL, or an object as text; raises `SettingsError`."""
    if not said.lstrip().startswith("{"):
        return RootTerms(parse_url(said, option))
    data = _object(said, option, _ROOT)
    url = parse_url(str(data.get("url", "")), f"{option}: url")
    here = f"{option} {url}"
    try:
        tenant, file = text(data, "tenant", 64), text(data, "invitation-file", 4096)
        return RootTerms(
            url,
            _share(data, here),
            parse_tenant(tenant, f"{here}: tenant"),
            read_invitation(file, f"{here}: invitation-file") if file is not None else None,
        )
    except InvalidRequest as error:
        raise SettingsError(f"{here}: {error}") from error


def read_devices(said: str, option: str) -> Share:
    """The share of devices that ask themselves, an object as text; raises `SettingsError`."""
    try:
        return _share(_object(said, option, _SHARE), option)
    except InvalidRequest as error:
        raise SettingsError(f"{option}: {error}") from error


def parse_tenant(name: str | None, option: str) -> str | None:
    """A tenant's id."""
    return matching(name, option, _TENANT, "a tenant's id such as acme-2")


def _share(data: Mapping[str, Any], here: str) -> Share:
    return Share(
        integer(data, "capacity", 0, _MOST_DEPLOYMENTS),
        _apps(data["apps"]) if "apps" in data else None,
        number(data, "price", 0, HIGHEST_PRICE),
        parse_jurisdiction(text(data, "jurisdiction", 64), f"{here}: jurisdiction"),
    )


def _apps(value: Any) -> frozenset[UUID]:
    if not isinstance(value, list) or not 0 < len(value) <= _MOST_APPS:
        raise InvalidRequest(f"apps: must be a list of 1 to {_MOST_APPS} UUIDs")
    return frozenset(parse_uuid(str(app)[:64], "apps") for app in value)


def _object(said: str, option: str, known: Collection[str]) -> dict[str, Any]:
    try:
        data = parse_json(said.encode("utf-8", "replace"), "terms")
    except InvalidRequest as error:
        raise SettingsError(f"{option}: {error}") from error
    for name in data.keys() - set(known):
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; is {near[0]} meant?" if near else f"; there are {', '.join(known)}"
        raise SettingsError(f"{option}: there is no {name[:40]!r}{hint}")
    return data
