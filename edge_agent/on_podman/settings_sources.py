"""What a deployment's ConfigMaps and Secrets hold, for the pods that ask for it. Pure; made from manifests by
`pods.py`, read by `containers.py` and `volumes.py`.

Secrets become files and variables directly: Podman's own secrets would outlive the deployment.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from edge_agent.errors import DeployFailed
from edge_agent.recipes.manifests import Manifest


class Sources:
    """ConfigMaps and Secrets by name."""

    def __init__(self, manifests: Sequence[Manifest]) -> None:
        self._held = {
            (manifest["kind"], manifest["metadata"]["name"]): _content(manifest)
            for manifest in manifests
            if manifest["kind"] in ("ConfigMap", "Secret")
        }

    def all(self, kind: str, name: Any, *, optional: bool) -> Mapping[str, bytes]:
        """Everything in it; raises `DeployFailed` where it is missing and not optional."""
        found = self._held.get((kind, name))
        if found is None and not optional:
            raise DeployFailed(f"A pod asks for the {kind} {name}, which the chart does not make.")
        return found or {}

    def one(self, kind: str, name: Any, key: Any, *, optional: bool) -> bytes | None:
        """One entry; raises `DeployFailed` where it is missing and not optional."""
        found = self.all(kind, name, optional=optional).get(key)
        if found is None and not optional:
            raise DeployFailed(f"A pod asks for {key!r} of the {kind} {name}, which has none.")
        return found


def _content(manifest: Manifest) -> Mapping[str, bytes]:
    where = f"{manifest['kind']} {manifest['metadata']['name']}"
    packed = "data" if manifest["kind"] == "Secret" else "binaryData"
    plain = "stringData" if manifest["kind"] == "Secret" else "data"
    try:
        held = {name: base64.b64decode(value) for name, value in (manifest.get(packed) or {}).items()}
        held |= {name: value.encode() for name, value in (manifest.get(plain) or {}).items()}
    except (AttributeError, TypeError, ValueError, binascii.Error) as error:
        raise DeployFailed(f"{where} holds something that is neither text nor base64.") from error
    return held
