"""The roles of the agent's Helm chart, from the table of rights that the agent keeps in its code.

python -m infra.rights > infra/charts/sinfonia-agent/files/rights.yaml
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edge_agent.on_kubernetes.rights import KILO_RIGHTS, RIGHTS, Right


def rules(rights: Iterable[Right]) -> list[dict[str, Any]]:
    """Rules of a role, one for each right."""
    return [
        {"apiGroups": [right.group], "resources": [right.resource], "verbs": list(right.verbs)}
        for right in rights
    ]


def text() -> str:
    """The chart's file, with the reason above each rule."""
    lines = ["# Written by `python -m infra.rights` from edge_agent/on_kubernetes/rights.py."]
    roles = {
        "everywhere": [one for one in RIGHTS if one.scope == "everywhere"],
        "kilo": KILO_RIGHTS,
        "ownNamespace": [one for one in RIGHTS if one.scope == "own namespace"],
    }
    for key, rights in roles.items():
        lines.append(f"{key}:")
        for right in rights:
            verbs = ", ".join(right.verbs)
            lines += [
                f"  # {right.why}",
                f'  - apiGroups: ["{right.group}"]',
                f"    resources: [{right.resource}]",
                f"    verbs: [{verbs}]",
            ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(text(), end="")
