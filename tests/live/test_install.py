"""The SDK installed alone, from the project's own files, as an app developer would."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.needs import needs

PROJECT = Path(__file__).resolve().parents[2]
DEPENDENCIES = {"cryptography", "requests"}
PIP = (sys.executable, "-m", "pip", "--python")
THEIRS = {"certifi", "cffi", "charset-normalizer", "idna", "pycparser", "urllib3"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """The programs of a fresh virtual environment with the base install."""
    folder = tmp_path_factory.mktemp("install") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    install = [*PIP, folder / "bin" / "python", "install", "-q", PROJECT]
    subprocess.run(install, check=True, timeout=240, capture_output=True)
    return folder / "bin"


@needs("module:ensurepip")
@pytest.mark.timeout(300)
def test_the_base_install_is_small_and_has_the_command_line(environment):
    listing = subprocess.run(
        [*PIP, environment / "python", "list", "--format", "freeze"],
        capture_output=True,
        text=True,
        check=True,
    )
    installed = {line.split("==")[0].lower() for line in listing.stdout.splitlines()}
    assert "sinfonia-serverless" in installed
    assert installed - {"pip", "setuptools", "sinfonia-serverless"} <= DEPENDENCIES | THEIRS
    done = subprocess.run([environment / "sinfonia", "--version"], capture_output=True, text=True, check=True)
    assert "0.1.0" in done.stdout


@needs("module:ensurepip")
@pytest.mark.timeout(300)
def test_without_a_root_it_says_so_in_one_line(environment, tmp_path):
    done = subprocess.run(
        [environment / "sinfonia", "find", "http://127.0.0.1:9", "helloworld", "--timeout", "3"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"XDG_STATE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 110
    assert done.stdout == ""
    assert "can't be reached" in done.stderr.strip().splitlines()[-1]


API = """
import asyncio, device_sdk
from device_sdk import *
from device_sdk import aio

assert all(hasattr(device_sdk, name) for name in device_sdk.__all__)
assert all(hasattr(aio, name) for name in aio.__all__)
nowhere = "http://127.0.0.1:9"
for call in (
    lambda: deploy_backend(nowhere, HELLOWORLD, jit="prefer", timeout=3),
    lambda: find_cloudlets(nowhere, HELLOWORLD, jit="off", timeout=3),
    lambda: asyncio.run(aio.deploy_backend(nowhere, HELLOWORLD, jit="off", timeout=3)),
):
    try:
        call()
    except RootError as error:
        assert "can't be reached" in str(error), error
    else:
        raise AssertionError("nobody is there")
try:
    deploy_backend(nowhere, HELLOWORLD, jit="only", timeout=3)
except DeviceError as error:
    assert "sinfonia-serverless[jit]" in str(error), error
print("done")
"""


@needs("module:ensurepip")
@pytest.mark.timeout(300)
def test_the_api_works_alone_and_names_the_extra_that_it_would_need(environment, tmp_path):
    done = subprocess.run(
        [environment / "python", "-c", API],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env={"XDG_STATE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout == "done\n", done.stderr


@needs("module:ensurepip")
@pytest.mark.timeout(300)
def test_the_agent_says_what_it_lacks(environment):
    done = subprocess.run(
        [environment / "sinfonia-agent", "--version"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert "sinfonia-serverless[agent]" in done.stderr
    assert "Traceback" not in done.stderr
