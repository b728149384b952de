"""The packaged template, deployed onto an AWS emulator and used: API Gateway, the function, its tables."""

import base64
import http.server
import json
import threading
import urllib.error
import urllib.request
import uuid
from functools import partial

import boto3
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.fakes import cloud_agent
from tests.lab import engines
from tests.lab.machine import poll
from tests.lab.needs import needs
from tests.live.test_package import package  # noqa: F401 - a fixture

APP = "00000000-0000-0000-0000-000000000000"
pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


def call(method, url, body=None, **headers):
    request = urllib.request.Request(url, method=method, headers=headers)
    request.data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def client(service, engine):
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return boto3.client(service, endpoint_url=engine, region_name="us-east-1", **keys)


def items(engine, table):
    return client("dynamodb", engine).scan(TableName=table)["Items"]


def deploy_stack(engine, package, recipes):  # noqa: F811
    """Make the stack; the URL of its API as the emulator serves it."""
    s3, stacks = client("s3", engine), client("cloudformation", engine)
    s3.create_bucket(Bucket="code")
    s3.upload_file(str(package / "deployment.zip"), "code", "deployment.zip")
    template = json.loads((package / "sam.json").read_text())
    function = template["Resources"]["APIHandler"]["Properties"]
    function["CodeUri"] = "s3://code/deployment.zip"
    # Where the emulator is, and that the agent on loopback may be called.
    function["Environment"]["Variables"] |= {
        "SINFONIA_DYNAMODB_URL": engine,
        "SINFONIA_ALLOW_PRIVATE_ENDPOINTS": "true",
    }
    s3.put_object(Bucket="code", Key="sam.json", Body=json.dumps(template))
    given = {"LeaseSecret": "0" * 32, "Open": "true", "Recipes": recipes}
    stacks.create_stack(
        StackName="sinfonia",
        TemplateURL=f"{engine}/code/sam.json",
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )

    def stack():
        return stacks.describe_stacks(StackName="sinfonia")["Stacks"][0]

    poll(lambda: not stack()["StackStatus"].endswith("IN_PROGRESS"), 120, 0.2)
    assert stack()["StackStatus"] == "CREATE_COMPLETE"
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack()["Outputs"]}
    return f"{engine}/restapis/{outputs['RestAPIId']}/root/_user_request_/api/v1"


@needs("ministack")
def test_a_cloudlet_registers_stays_and_is_asked_through_the_deployed_stack(package, tmp_path):  # noqa: F811
    (tmp_path / f"{APP}.yaml").write_text("chart: helloworld\nversion: 0.1.0\n")
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    files = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(tmp_path)))
    threading.Thread(target=files.serve_forever, daemon=True).start()
    name = str(uuid.UUID(int=7, version=4))
    try:
        with engines.ministack() as engine, cloud_agent.running_agent() as agent:
            api = deploy_stack(engine, package, f"http://127.0.0.1:{files.server_port}")
            registration = {
                "endpoint": f"{agent.url}/api/v1/deploy",
                "incarnation": 1_795_523_890_123,
                "location": {"latitude": 48.2, "longitude": 16.4},
            }
            status, lease = call("PUT", f"{api}/cloudlets/{name}", registration)
            assert status == 200, lease
            token = {"Authorization": f"Bearer {lease['lease_token']}"}
            status, said = call("POST", f"{api}/cloudlets/{name}/keepalive", {"sequence": 1}, **token)
            assert status == 200, said
            (row,) = [item for item in items(engine, "sinfonia-cloudlets") if "e" in item]
            assert (row["uuid"], row["s"]) == ({"S": name}, {"N": "1"})
            status, rows = call("GET", f"{api}/cloudlets")
            assert status == 200
            assert name in json.dumps(rows)
            key = X25519PrivateKey.generate().public_key().public_bytes_raw()
            text = base64.urlsafe_b64encode(key).rstrip(b"=").decode()
            status, targets = call("POST", f"{api}/deploy/{APP}/{text}", {})
            assert status == 200, targets
            assert targets[0]["DeploymentName"] == cloud_agent.deployment(APP, key)["DeploymentName"]
            assert len(items(engine, "sinfonia-deployments")) == 1
            assert len(items(engine, "sinfonia-usage")) == 1
    finally:
        files.shutdown()
        files.server_close()
