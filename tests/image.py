"""`python -m tests.image`: build the agent's image by its Containerfile on a Debian that is made here, and
see that it is what the chart takes it for. Two to four minutes and 2 GB, as root; needs mmdebstrap.

The Containerfile's own base images are a registry's. What stands in for them has the same Debian and Python,
and the helm that the set-up brought. Packages come from where this machine takes them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from edge_agent.arguments import own_version
from tests.lab import cluster, podman

_PROJECT = cluster.PROJECT
_PACKAGES = "python3,python3-venv,ca-certificates"
_PYTHON, _HELM, _AGENT = (f"localhost/sinfonia-lab/{name}:1" for name in ("python", "helm", "agent"))
_PLACES = ("/etc/pip.conf", "/etc/ssl/certs", "/usr/local/share/ca-certificates")
"""How this machine reaches its package index."""
_RIGHTS = ("--cap-drop", "all", "--cap-add", "NET_ADMIN", "--cap-add", "NET_BIND_SERVICE", "--read-only")
_INSIDE = """
set -e
test "$(id -u)" = 65532
helm version --short && wg --version && nft --version
ip link add try type bridge && ip link del try
nft list tables
for program in ip wg nft; do test "$(command -v $program)"; done
touch /nowhere 2>/dev/null && exit 1
echo all is there
"""


class Store:
    """Podman's images in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._environment = {**os.environ, **podman.environment(folder)}
        stores = ("--root", str(folder / "root"), "--runroot", str(folder / "run"))
        # Mounts of its own: none is left in the way of taking the folder away.
        self._command = ("unshare", "--mount", "podman", *stores)

    def call(self, *arguments: str, text: str | None = None, status: int = 0) -> str:
        """What it prints; it has to end with this status."""
        done = subprocess.run(
            [*self._command, *arguments],
            input=text,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
            cwd=_PROJECT,
            timeout=900,
            check=False,
        )
        assert done.returncode == status, (arguments[:2], done.returncode, done.stdout[-2000:])
        return done.stdout

    def build(self, name: str, folder: Path, *options: str, text: str | None = None) -> None:
        """Build an image by a Containerfile, or by this text of one."""
        options += ("-f", "-") if text is not None else ()
        self.call("build", "--network", "host", *options, "-t", name, str(folder), text=text)


def build(store: Store, folder: Path) -> None:
    """The bases, and the agent's image on them."""
    base = folder / "base.tar"
    make = ("mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(base))
    subprocess.run(make, check=True, timeout=600)
    path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    store.call("import", "--quiet", "--change", path, str(base), f"{_PYTHON}-base")
    store.build(_PYTHON, folder, text=f"FROM {_PYTHON}-base\nRUN ln -s python3 /usr/bin/python\n")
    own = folder / "helm"
    own.mkdir()
    shutil.copy(cluster.helm(), own / "helm")
    store.build(_HELM, own, text="FROM scratch\nCOPY helm /usr/bin/helm\n")
    volumes = [word for place in _PLACES if Path(place).exists() for word in ("-v", f"{place}:{place}:ro")]
    arguments = ("--build-arg", f"PYTHON={_PYTHON}", "--build-arg", f"HELM={_HELM}")
    store.build(_AGENT, _PROJECT, *volumes, *arguments, "-f", "infra/agent/Containerfile")


def check(store: Store) -> None:
    """It runs with the two capabilities, without root, on a file system that it can't write."""
    run = ("run", "--rm", "--network", "none")
    assert store.call(*run, *_RIGHTS, _AGENT, "--version").split() == ["sinfonia-agent", own_version()]
    assert "all is there" in store.call(*run, *_RIGHTS, "--entrypoint", "sh", _AGENT, "-c", _INSIDE)
    store.call(*run, "--cap-drop", "all", _AGENT, "--version", status=1)  # its Python carries rights


def main() -> int:
    """Exit status 0 if it is; a failure says what is wrong."""
    lacking = [program for program in ("mmdebstrap", "podman") if not shutil.which(program)]
    if os.geteuid() or lacking:
        print(f"tests.image: needs root rights, and {' '.join(lacking) or 'nothing else'}", file=sys.stderr)  # noqa: T201
        return 2
    folder = Path(tempfile.mkdtemp(prefix="sinfonia-image-", dir="/var/tmp"))
    try:
        store = Store(folder)
        build(store, folder)
        check(store)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("the agent's image is built by its Containerfile, and runs")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
