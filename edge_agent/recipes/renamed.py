"""Other names for a backend's images: those of a bundle are called differently in the runtime. Pure; called
by `recipes.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

from edge_agent.recipes.image_names import spellings
from edge_agent.recipes.manifests import WORKLOADS, Backend, Manifest, pod_template


def with_images(backend: Backend, images: Mapping[str, str]) -> Backend:
    """The backend with the images that `images` knows, by any of their names, called as it says."""
    if not images:
        return backend
    known = {full: here for name, here in images.items() for full in spellings(name)}
    manifests = tuple(copy.deepcopy(one) for one in backend.manifests)
    for manifest in manifests:
        if manifest["kind"] in WORKLOADS:
            _rename(pod_template(manifest)["spec"], known)
    return replace(backend, manifests=manifests)


def _rename(spec: Manifest, known: Mapping[str, str]) -> None:
    for container in [*spec["containers"], *(spec.get("initContainers") or [])]:
        here = next((known[full] for full in spellings(container["image"]) if full in known), None)
        if here is not None:
            container["image"] = here
            container["imagePullPolicy"] = "IfNotPresent"  # it is here, and nowhere else
