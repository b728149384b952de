"""What `chalice package` makes, opened, and run from its content alone."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infra.aws.policy import for_stack
from infra.aws.template import tables_template
from tests.lab import function
from tests.lab.function import event
from tests.lab.needs import needs

ROOT = Path(__file__).resolve().parents[2]
LAMBDA_GLIBC = 26  # 2.26, of Amazon Linux 2, under Python 3.11 there
APP = "00000000-0000-0000-0000-000000000000"
pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

# Runs with nothing but the zip's content (and the standard library) to import from.
HANDLER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import app
print(json.dumps([app.app(event, None) for event in json.load(sys.stdin)]))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The folder with `deployment.zip` and `sam.json`."""
    folder = tmp_path_factory.mktemp("package")
    subprocess.run([ROOT / "infra/setup/package", folder], check=True, timeout=240, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def unzipped(package, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unzipped")
    with zipfile.ZipFile(package / "deployment.zip") as file:
        file.extractall(folder)
    return folder


def run(unzipped: Path, events: list[dict]) -> list[dict]:
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "SINFONIA_LEASE_SECRET": "0123456789abcdef0123456789abcdef",
        "SINFONIA_DYNAMODB_URL": "http://127.0.0.1:1",
        "SINFONIA_RECIPES": str(unzipped),
    }
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", HANDLER, str(unzipped)],
        input=json.dumps(events),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_zip_has_what_the_function_needs_and_nothing_else(unzipped):
    names = {path.name for path in unzipped.iterdir()}
    assert {"app.py", "chalicelib", "chalice", "pynamodb", "botocore", "h3", "yaml"} <= names
    assert not names & {"wsgi.py", "local_root.py", "tests", "pip", "setuptools", "boto3", "waitress"}
    ours = {path.name for path in (unzipped / "chalicelib").iterdir()}
    assert ours == {path.name for path in (ROOT / "cloud/chalicelib").iterdir()} | {"__pycache__"}
    services = {path.name for path in (unzipped / "botocore/data").iterdir() if path.is_dir()}
    assert services == {"dynamodb", "lambda", "sts"}
    for library in unzipped.rglob("*.so"):
        content = library.read_bytes()
        assert content[18:20] == b"\x3e\0", f"{library.name}: e_machine of ELF, not x86-64"
        needed = [int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", content)]
        assert max(needed, default=0) <= LAMBDA_GLIBC, f"{library.name} needs a newer glibc than Lambda has"


def test_the_zip_has_bytecode_that_is_used_without_a_look_at_the_source(unzipped):
    sources = [path for path in unzipped.rglob("*.py") if path.stat().st_size]
    assert len(sources) > 100
    for source in sources:
        bytecode = Path(importlib.util.cache_from_source(str(source))).read_bytes()
        assert bytecode[:4] == importlib.util.MAGIC_NUMBER
        assert bytecode[4:8] == (1).to_bytes(4, "little"), f"{source}: PEP 552's flags: by hash, unchecked"


def test_the_same_source_makes_the_same_zip(unzipped, tmp_path):
    first, second = tmp_path / "1.zip", tmp_path / "2.zip"
    for archive in (first, second):
        tree = tmp_path / archive.stem
        for part in ("app.py", "chalicelib/fields.py", "chalicelib/settings.py", "botocore/data/sts"):
            copied = tree / part
            copied.parent.mkdir(parents=True, exist_ok=True)
            origin = unzipped / part
            (shutil.copytree if origin.is_dir() else shutil.copyfile)(origin, copied)
        with zipfile.ZipFile(archive, "w") as file:
            for path in tree.rglob("*"):
                file.write(path, path.relative_to(tree))
    template = tmp_path / "sam.json"
    runtime = f"python{sys.version_info.major}.{sys.version_info.minor}"
    template.write_text(json.dumps({"Resources": {"APIHandler": {"Properties": {"Runtime": runtime}}}}))
    for archive in (first, second):
        repack(template, archive)
    assert first.read_bytes() == second.read_bytes()


def repack(template: Path, archive: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "infra/setup/repack.py", template, archive],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONHASHSEED": "0"},
    )


def test_bytecode_for_another_python_is_refused(tmp_path):
    template, archive = tmp_path / "sam.json", tmp_path / "deployment.zip"
    template.write_text(json.dumps({"Resources": {"APIHandler": {"Properties": {"Runtime": "python3.1"}}}}))
    archive.write_bytes(b"x")
    done = repack(template, archive)
    assert done.returncode == 1
    assert "python3.1" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_handler_answers_from_the_zips_content_alone(unzipped):
    route = "/api/v1/deploy/{app_uuid}/{application_key+}"
    contract, bad_key, bad_uuid, no_accounts, no_table = run(
        unzipped,
        [
            event("GET", "/api/v1/openapi.yaml", "/api/v1/openapi.yaml"),
            event(
                "POST", route, f"/api/v1/deploy/{APP}/x/y", {"app_uuid": APP, "application_key": "x/y"}, None
            ),
            event("POST", route, "/api/v1/deploy/x/y", {"app_uuid": "x", "application_key": "y"}, "{}"),
            event("POST", route, f"/api/v1/deploy/{APP}/y", {"app_uuid": APP, "application_key": "0" * 64}),
            event("GET", "/api/v1/cloudlets", "/api/v1/cloudlets/", None, None, {"limit": ["5"]}),
        ],
    )
    assert contract["statusCode"] == 200
    assert contract["body"].startswith("openapi: 3.1.0")
    for answer, status, kind in (
        (bad_key, 400, "invalid-request"),
        (bad_uuid, 400, "invalid-request"),
        (no_accounts, 503, "unavailable"),
        (no_table, 503, "unavailable"),
    ):
        assert answer["statusCode"] == status
        assert answer["headers"]["Content-Type"] == "application/problem+json"
        assert json.loads(answer["body"])["type"] == f"urn:sinfonia:problem:{kind}"


def test_the_template_has_the_function_its_settings_and_its_routes(package):
    template = json.loads((package / "sam.json").read_text())
    function = template["Resources"]["APIHandler"]["Properties"]
    assert function["Environment"]["Variables"]["SINFONIA_TABLE"] == {"Ref": "CloudletTable"}
    assert function["Timeout"] == 29
    definition = template["Resources"]["RestAPI"]["Properties"]["DefinitionBody"]
    assert {"get", "post"} <= set(definition["paths"]["/api/v1/deploy/{app_uuid}/{application_key+}"])
    assert definition["x-amazon-apigateway-gateway-responses"]["DEFAULT_5XX"]["statusCode"] == "500"


def test_the_functions_rights_are_those_that_are_written_out(package):
    template = json.loads((package / "sam.json").read_text())
    (policy,) = template["Resources"]["ApiHandlerRole"]["Properties"]["Policies"]
    assert policy["PolicyDocument"] == for_stack()


@needs("cfn-lint")
def test_a_checker_of_templates_finds_nothing(package, tmp_path):
    tables = tmp_path / "tables.json"
    tables.write_text(json.dumps(tables_template()))
    done = subprocess.run(
        [ROOT / ".cache/cfn-lint/bin/cfn-lint", package / "sam.json", tables],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs("lambda-runtime")
def test_the_function_runs_as_lambda_runs_it(package, tmp_path):
    folder = function.unzip(package / "deployment.zip", tmp_path / "task")
    settings = {"SINFONIA_LEASE_SECRET": "0" * 32, "SINFONIA_DYNAMODB_URL": "http://127.0.0.1:1"}
    with function.running(folder, settings) as running:
        contract, _ = running.call(function.event("GET", "/api/v1/openapi.yaml"))
        away, _ = running.call(function.event("GET", "/api/v1/cloudlets"))
    assert contract["body"].startswith("openapi: 3.1.0")
    assert away["statusCode"] == 503
