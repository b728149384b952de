"""`python -m infra.docs REDOC OUT`: write the contract's page. `make docs` calls it with what it fetched."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from infra.docs.page import page

_DOCUMENT = Path(__file__).parents[2] / "cloud" / "chalicelib" / "openapi.yaml"


def main(arguments: list[str]) -> int:
    """Write the page; returns the exit status."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m infra.docs REDOC.standalone.js OUT.html\n")
        return 2
    redoc, out = map(Path, arguments)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page(yaml.safe_load(_DOCUMENT.read_text()), redoc.read_text()))
    sys.stdout.write(f"{out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
