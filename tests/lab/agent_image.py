"""The agent's image, for clusters that can't pull: laid out as infra/agent/Containerfile does it, out of this
machine's own files, and written as an archive that `ctr` and `podman load` take. Nothing is started for it.

The Python packages in it are those of the extra `agent` and what they need: one that is missing there is
missing here.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parents[2]
AGENT_IMAGE = "localhost/sinfonia-agent:test"
USER = 65532
_ARCHIVE = PROJECT / ".build" / "images" / "agent.tar"
_HOME = "opt/sinfonia"
_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
_NET_BIND_SERVICE, _NET_ADMIN = 10, 12
_PROGRAMS = {**dict.fromkeys(("ip", "wg", "nft", "wireguard-go"), (_NET_ADMIN,)), "sh": ()}
_LEFT_OUT = {
    "test",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
    "site-packages",
    "__pycache__",
}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LAUNCHER = f"#!/{_HOME}/bin/python\nimport sys\nfrom edge_agent.command import main\nsys.exit(main())\n"


def agent_archive() -> Path:
    """The image as a docker archive, made anew where the agent's files are newer."""
    _ARCHIVE.parent.mkdir(parents=True, exist_ok=True)
    with (_ARCHIVE.parent / ".agent.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sources = [*(PROJECT / "edge_agent").rglob("*.py"), Path(__file__), PROJECT / "pyproject.toml"]
        newest = max(path.stat().st_mtime for path in sources)
        if not _ARCHIVE.exists() or _ARCHIVE.stat().st_mtime < newest:
            _write(_ARCHIVE)
    return _ARCHIVE


class _Layer:
    """One layer of an image; each path once, folders before what is in them."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed below
        self._there: set[str] = set()

    def close(self) -> None:
        self._tar.close()

    def folder(self, name: str, owner: int = 0, mode: int = 0o755) -> None:
        parent = str(Path(name).parent)
        if parent not in (".", "/"):
            self._parent(parent)
        self._add(tarfile.TarInfo(name), tarfile.DIRTYPE, mode, owner)

    def file(self, source: Path, name: str, *capabilities: int) -> None:
        if name in self._there:
            return
        self._parent(str(Path(name).parent))
        info = tarfile.TarInfo(name)
        state = source.stat()
        info.size, info.mtime = state.st_size, int(state.st_mtime)
        if capabilities:
            info.pax_headers = {"SCHILY.xattr.security.capability": _attribute(*capabilities)}
        with source.open("rb") as content:
            self._add(info, tarfile.REGTYPE, state.st_mode & 0o755, 0, content)

    def text(self, name: str, text: str, mode: int = 0o644) -> None:
        self._parent(str(Path(name).parent))
        info, data = tarfile.TarInfo(name), text.encode()
        info.size = len(data)
        self._add(info, tarfile.REGTYPE, mode, 0, io.BytesIO(data))

    def link(self, name: str, target: str) -> None:
        self._parent(str(Path(name).parent))
        info = tarfile.TarInfo(name)
        info.linkname = target
        self._add(info, tarfile.SYMTYPE, 0o777, 0)

    def _parent(self, name: str) -> None:
        if name not in ("", ".", "/") and name not in self._there:
            self.folder(name)

    def _add(self, info: tarfile.TarInfo, kind: bytes, mode: int, owner: int, content: object = None) -> None:
        if info.name not in self._there:
            self._there.add(info.name)
            info.type, info.mode, info.uid, info.gid = kind, mode, owner, owner
            self._tar.addfile(info, content)  # type: ignore[arg-type]


def _attribute(*bits: int) -> str:
    """The attribute that `setcap cap_…+ep` sets: vfs_cap_data of revision 2 (linux/capability.h)."""
    return struct.pack("<IIIII", 0x02000001, sum(1 << bit for bit in bits), 0, 0, 0).decode("latin-1")


def _write(archive: Path) -> None:
    partial, layer_file = archive.with_suffix(".partial"), archive.with_suffix(".layer")
    with layer_file.open("wb") as file:
        layer = _Layer(file)
        _fill(layer)
        layer.close()
    digest = hashlib.sha256()
    with layer_file.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    config = json.dumps(_config(digest.hexdigest())).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": [AGENT_IMAGE], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(partial, "w") as tar:
        for path, data in ((name, config), ("manifest.json", manifest)):
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        tar.add(layer_file, "layer.tar")
    layer_file.unlink()
    partial.replace(archive)


def _config(layer: str) -> dict[str, object]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            "Env": [f"PATH={_PATH}", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"],
            "Entrypoint": ["/usr/local/bin/sinfonia-agent"],
            "Cmd": ["run", "--config", "/etc/sinfonia/agent/agent.yaml"],
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
        "history": [{"created_by": "tests/lab/agent_image.py"}],
    }


def _fill(layer: _Layer) -> None:
    layer.folder("tmp", mode=0o1777)
    for name in (
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib64",
        "run",
        "var",
        "dev",
        "proc",
        "sys",
        "etc/sinfonia",
    ):
        layer.folder(name)
    for name in ("bin", "sbin", "lib", "lib64"):  # as Debian has it
        layer.link(name, f"usr/{name}")
    layer.link("var/run", "../run")
    layer.folder("run/wireguard", USER)
    layer.folder("var/lib/sinfonia-agent", USER, 0o700)
    layer.text("etc/passwd", f"root:x:0:0::/:/bin/sh\nagent:x:{USER}:{USER}::/:/bin/sh\n")
    python = Path(sys.executable).resolve()
    layer.file(python, f"{_HOME}/bin/python", _NET_ADMIN, _NET_BIND_SERVICE)
    objects = [python]
    for program, capabilities in _PROGRAMS.items():
        found = Path(shutil.which(program, path=_PATH) or program).resolve()
        layer.file(found, f"usr/bin/{program}", *capabilities)
        objects.append(found)
    helm = shutil.which("helm", path=f"{Path(sys.executable).parent}:{_PATH}")
    assert helm, "helm is needed"
    layer.file(Path(helm).resolve(), "usr/local/bin/helm")
    layer.text("usr/local/bin/sinfonia-agent", _LAUNCHER, 0o755)
    for source, name in (*_library(), *_packages()):
        layer.file(source, f"{_HOME}/lib/{_VERSION}/{name}")
        if source.suffix == ".so" or ".so." in source.name:
            objects.append(source)
    for path in sorted((PROJECT / "edge_agent").rglob("*.py")):
        layer.file(path, f"{_HOME}/lib/{_VERSION}/site-packages/{path.relative_to(PROJECT)}")
    for library in sorted(_libraries(objects)):
        layer.file(library.resolve(), _in_usr(library))


def _in_usr(library: Path) -> str:
    name = str(library).lstrip("/")
    return name if name.startswith(("usr/", "root/", "opt/")) else f"usr/{name}"


def _library() -> Iterator[tuple[Path, str]]:
    home = Path(sysconfig.get_path("stdlib"))
    for path in sorted(home.rglob("*")):
        inside = path.relative_to(home)
        if path.is_file() and not _LEFT_OUT & set(inside.parts[:1]) and "test" not in inside.parts:
            yield path, str(inside)


def _packages() -> Iterator[tuple[Path, str]]:
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = [(need.name, need.extras) for need in map(Requirement, extras["agent"])]
    seen: set[str] = set()
    for file in distribution("sinfonia-serverless").files or []:
        if file.name == "METADATA":  # for --version
            yield Path(str(file.locate())), f"site-packages/{file}"
    while wanted:
        name, extras = wanted.pop()
        if (key := re.sub(r"[-_.]+", "-", name).lower()) in seen:
            continue
        seen.add(key)
        found = distribution(name)
        for line in found.requires or []:
            need = Requirement(line)
            if any(
                need.marker is None or need.marker.evaluate({"extra": extra}) for extra in (extras or {""})
            ):
                wanted.append((need.name, need.extras))
        for file in found.files or []:
            path = Path(str(found.locate_file(file)))
            if ".." not in file.parts and path.is_file() and path.suffix != ".pth":
                yield path, f"site-packages/{file}"


def _libraries(objects: list[Path]) -> set[Path]:
    done = subprocess.run(
        ["ldd", *map(str, objects)], capture_output=True, text=True, check=False, timeout=60
    )
    return {Path(found) for found in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", done.stdout, re.MULTILINE)}
