"""Where an operator lets guests' pods run, and how they are kept apart there: options, and what they do to a
manifest. Called by `arguments.py`, `settings.py` and `cluster.py`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_agent.errors import SettingsError
from edge_agent.recipes.manifests import WORKLOADS, Manifest, pod_template

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_LABEL = re.compile(
    r"(?:[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
    r"=([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?"
)
"""A label of Kubernetes, as KEY=VALUE."""


@dataclass(frozen=True)
class Placement:
    """What every guest's pod gets besides its own. `nodes` are labels that its node must have; taints with
    the same keys are tolerated, so that nodes can be kept for guests. `runtime_class` names a sandbox such
    as gVisor's or Kata's, `priority_class` says who gives way where nodes are full; empty for the cluster's.
    """

    nodes: Mapping[str, str] = field(default_factory=dict)
    runtime_class: str = ""
    priority_class: str = ""

    @classmethod
    def from_arguments(cls, arguments: Any) -> Placement:
        """Check the parsed command line; raises `SettingsError`."""
        given = (arguments.guest_nodes, arguments.guest_runtime_class, arguments.guest_priority_class)
        if any(given) and arguments.runtime != "kubernetes":
            raise SettingsError("--guest-…: these options are for --runtime kubernetes")
        for option, name in zip(("runtime", "priority"), given[1:], strict=True):
            if name and not _NAME.fullmatch(name):
                raise SettingsError(f"--guest-{option}-class {name}: must be the name of one in the cluster")
        return cls(_labels(arguments.guest_nodes), given[1] or "", given[2] or "")

    def place(self, manifest: Manifest) -> Manifest:
        """The manifest with this in its pods; other objects as they are."""
        if manifest["kind"] not in WORKLOADS:
            return manifest
        template = pod_template(manifest)
        placed = {**template, "spec": {**template["spec"], **self._fields()}}
        if manifest["kind"] == "Pod":
            return placed
        return {**manifest, "spec": {**manifest["spec"], "template": placed}}

    def _fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if self.nodes:
            fields["nodeSelector"] = dict(self.nodes)
            fields["tolerations"] = [{"key": key, "operator": "Exists"} for key in self.nodes]
        if self.runtime_class:
            fields["runtimeClassName"] = self.runtime_class
        if self.priority_class:
            fields["priorityClassName"] = self.priority_class
        return fields


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options, in a group of their own."""
    group = parser.add_argument_group(
        "where guests run in Kubernetes",
        "Registries and their passwords are the nodes' own business: whatever an agent put into a guest's "
        "namespace, the guest could read. A chart may bring an image pull secret of its own.",
    )
    group.add_argument(
        "--guest-nodes",
        action="append",
        default=[],
        metavar="LABEL=VALUE",
        help="run guests on nodes with this label only, and tolerate taints of that key; may be repeated. "
        "`kubectl taint nodes N LABEL=VALUE:NoSchedule` keeps everybody else away from them",
    )
    group.add_argument(
        "--guest-runtime-class",
        metavar="NAME",
        help="run guests in this RuntimeClass, such as a gVisor or Kata sandbox (default: the cluster's own)",
    )
    group.add_argument(
        "--guest-priority-class",
        metavar="NAME",
        help="give guests this PriorityClass; a low one lets them give way to your own pods where nodes are "
        "full (default: the cluster's own)",
    )


def _labels(given: Sequence[str]) -> dict[str, str]:
    for text in given:
        if not _LABEL.fullmatch(text):
            raise SettingsError(
                f"--guest-nodes {text}: must be a label of nodes, such as example.org/guests=yes"
            )
    return dict(text.split("=", 1) for text in given)
