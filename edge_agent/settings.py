"""What an operator can set, checked: one frozen dataclass, joined from the groups of the rooms that they are
for. Made from the command line by `__main__.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from edge_agent.deployments.lease_settings import LeaseSettings
from edge_agent.deployments.site_settings import SiteSettings
from edge_agent.errors import SettingsError
from edge_agent.nearby.nearby_settings import NearbySettings
from edge_agent.on_kubernetes.placement import Placement
from edge_agent.on_podman.podman_settings import podman_options
from edge_agent.provisioning.bundle_settings import BundleSettings
from edge_agent.recipes.recipe_settings import RecipeSettings
from edge_agent.roots.resource_settings import ResourceSettings
from edge_agent.roots.root_settings import RootSettings
from edge_agent.serving.serving_settings import ServingSettings, listening
from edge_agent.tunnels.gateway_settings import GatewaySettings

RuntimeName = Literal["podman", "kubernetes"]


@dataclass(frozen=True)
class Settings:
    """The agent's settings: those that several rooms need, and a group for each room."""

    runtime: RuntimeName
    recipes: str | None
    state: Path
    serving: ServingSettings
    gateway: GatewaySettings
    roots: RootSettings = field(default_factory=RootSettings)
    site: SiteSettings = field(default_factory=SiteSettings)
    leases: LeaseSettings = field(default_factory=LeaseSettings)
    nearby: NearbySettings = field(default_factory=NearbySettings)
    bundles: BundleSettings = field(default_factory=BundleSettings)
    resources: ResourceSettings = field(default_factory=ResourceSettings)
    guests: RecipeSettings = field(default_factory=RecipeSettings)
    placement: Placement = field(default_factory=Placement)
    kubeconfig: str | None = None
    podman_options: tuple[str, ...] = ()

    @classmethod
    def from_arguments(
        cls,
        arguments: Any,
        own_address: Callable[[], str | None],
        environ: Mapping[str, str] = MappingProxyType({}),
        own_address6: Callable[[], str | None] = lambda: None,
    ) -> Settings:
        """Check the parsed command line; `own_address` finds this machine's address where none is given,
        `own_address6` one of IPv6 where it has no other.

        Of the environment only `SINFONIA_INVITATION` counts: a secret that `ps` should not show.
        """
        listen = listening(arguments)
        gateway = GatewaySettings.from_arguments(arguments, listen, own_address, own_address6)
        host = gateway.endpoint.host if listen[0].anywhere else listen[0].host
        nearby = NearbySettings.from_arguments(arguments, listen, host)
        roots = RootSettings.from_arguments(arguments, environ)
        _check_together(arguments, announces=nearby.announce)
        return cls(
            runtime=arguments.runtime,
            recipes=arguments.recipes,
            state=Path(arguments.state),
            serving=ServingSettings.from_arguments(arguments, listen, host),
            gateway=gateway,
            roots=roots,
            site=SiteSettings.from_arguments(arguments),
            leases=LeaseSettings.from_arguments(arguments),
            nearby=nearby,
            bundles=BundleSettings.from_arguments(arguments),
            resources=ResourceSettings.from_arguments(arguments),
            guests=RecipeSettings.from_arguments(arguments),
            placement=Placement.from_arguments(arguments),
            kubeconfig=arguments.kubeconfig,
            podman_options=podman_options(arguments),
        )


def _check_together(arguments: Any, *, announces: bool) -> None:
    """Raise `SettingsError` for options of several groups that make no sense with, or without, each other."""
    if not (arguments.root or announces):
        raise SettingsError("nobody would find this cloudlet: give --root URL, or --announce, or both")
    if not (arguments.recipes or arguments.recipes_from_roots or arguments.take_bundles):
        raise SettingsError(
            "nothing could run here: give --recipes DIR|URL, --recipes-from-roots, or --take-bundles SIZE"
        )
    if arguments.only_from_roots and announces:
        raise SettingsError("--only-from-roots: devices that --announce brings are no roots")
