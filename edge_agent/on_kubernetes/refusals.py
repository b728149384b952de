"""What it means for a deployment that the API server refuses something: used by `cluster.py`.

A refusal ends a deployment only where it is about the deployment; where it is about the agent or the server,
it is tried again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from edge_agent.errors import DeployFailed, Unavailable
from edge_agent.on_kubernetes.api import Refused

_ABOUT_IT = {
    403: re.compile(
        r"exceeded quota|failed quota|violates PodSecurity|denied the request|being terminated|usage per",
        re.IGNORECASE,
    ),
    404: re.compile(r"^namespaces .* not found"),
}
"""Words of refusals that are about the deployment: its quota, policies, its namespace. Others with these
statuses are about the agent's own rights, about something that is not there yet, or from a proxy.
"""


@contextmanager
def refusals() -> Iterator[None]:
    """Turn a refusal into what it means for a deployment."""
    try:
        yield
    except Refused as error:
        words = _ABOUT_IT.get(error.status)
        if error.status in (400, 413, 422) or (words and words.search(str(error))):
            raise DeployFailed(f"Kubernetes refused it: {error}") from error
        raise Unavailable(f"Kubernetes refused it for now: {error}") from error
