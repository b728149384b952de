"""Pods made and removed, step by step. Called by `podman.py`; calls `podman_program.py`.

A pod is made of `pod create`, `create` for each container and `pod start`, and not by `play kube`: that
bounds no processes, knows no sizes of volumes, no read-only root without files to write, and of its init
containers waits for none.

Whatever step was the last before a crash, the pod has a label with all its containers' names: one that lacks
some is removed and made anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_agent.deployments.records import DEPLOYMENT_LABEL
from edge_agent.errors import DeployFailed, Unavailable
from edge_agent.on_podman.blueprints import Blueprint
from edge_agent.on_podman.containers import ContainerPlan
from edge_agent.on_podman.podman_program import Podman, PodmanError
from edge_agent.on_podman.pods import CONTAINERS_LABEL, RESTING_LABEL

_START_SECONDS = 300.0
"""Images may have to be pulled."""


class Maker:
    """Makes and removes the pods of deployments, with their volumes."""

    def __init__(self, program: Podman) -> None:
        self._podman = program

    def make(self, blueprint: Blueprint, network: str, labels: Mapping[str, str], names: Path) -> None:
        """Make and start a pod of which nothing is there, with `names` as its /etc/hosts; raises
        `DeployFailed` or `Unavailable`.
        """
        pod = blueprint.pod
        shared = "net,uts,ipc" + (",pid" if blueprint.shares_processes else "")
        try:
            for volume in blueprint.volumes:
                self._podman.call("volume", "create", *written(labels), *volume.options, volume.name)
                if volume.files is None:  # or it would be emptied between an init container and the others
                    self._podman.call("volume", "mount", volume.name)
                else:
                    self._podman.call("volume", "import", volume.name, "-", text=volume.archive())
            self._podman.call(
                *("pod", "create", "--name", pod.name, "--hostname", pod.hostname, "--share", shared),
                *("--network", network, "--ip", str(blueprint.address), *written(pod.labels)),
                *(
                    "--no-hosts",
                    "--dns-search",
                    ".",
                ),  # the operator's names and domains are not guests' concern
            )
            known = ("--volume", f"{names}:/etc/hosts:ro,z")
            for init in blueprint.inits:
                self._before(init, *known)
            for container in blueprint.containers:
                self._container("create", container, *known)
            self._podman.call("pod", "start", pod.name, timeout=_START_SECONDS)
        except PodmanError as error:
            raise DeployFailed(f"Podman can't start it: {error}") from error

    def _before(self, init: ContainerPlan, *more: str) -> None:
        """Run an init container to its end."""
        try:
            self._container("run", init, "--rm", "--restart", "no", *more)
        except PodmanError as error:
            raise DeployFailed(f"The init container {init.name} failed: {error}") from error

    def _container(self, verb: str, plan: ContainerPlan, *more: str) -> None:
        options = (*plan.options, *more, plan.image, *plan.words)
        self._podman.call(verb, *options, text=plan.environment.encode(), timeout=_START_SECONDS)

    def remove_pods(self, pods: Sequence[Mapping[str, Any]]) -> None:
        """Kill, let Podman's own clean-up of the dead finish, remove.

        A `pod rm` that kills by itself holds the lock for which that clean-up waits, inside of the control
        group that the `pod rm` wants gone: with the cgroupfs manager it gives up after 5 s.
        """
        ids = [str(pod["Id"]) for pod in pods]
        running = [one["Id"] for pod in pods for one in pod["Containers"] or () if one["Status"] == "running"]
        with suppress(Unavailable):  # who died meanwhile can't be killed
            if running:
                self._podman.call("kill", *running)
                self._podman.call("wait", "--interval", "20ms", "--condition", "exited", *running, timeout=3)
        if ids:
            self._podman.call("pod", "rm", "--force", "--ignore", "--time", "0", *ids, timeout=60)

    def remove_volumes(self, deployment: str, *, note: bool, pod: str | None = None) -> None:
        """Remove a deployment's volumes, or those of one of its pods; with `note` the one that says that it
        rests, too.
        """
        listed = self._podman.listing("volume", "ls", "--filter", f"label={DEPLOYMENT_LABEL}={deployment}")
        names = [
            volume["Name"]
            for volume in listed
            if (note or RESTING_LABEL not in (volume.get("Labels") or {}))
            and (pod is None or volume["Name"].startswith(f"{pod}-"))
        ]
        if names:
            self._podman.call("volume", "rm", "--force", *names)


def written(labels: Mapping[str, str]) -> list[str]:
    """Labels as options."""
    return [option for name, value in labels.items() for option in ("--label", f"{name}={value}")]


def statuses(pod: Mapping[str, Any]) -> dict[str, str]:
    """The status of each container that a pod should have; `missing` where it was not made."""
    there = {one["Names"]: str(one["Status"]).lower() for one in pod.get("Containers") or []}
    wanted = filter(None, pod["Labels"].get(CONTAINERS_LABEL, "").split(","))
    return {name: there.get(name, "missing") for name in wanted}
