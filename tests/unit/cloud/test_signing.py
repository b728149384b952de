"""Signatures, against botocore's over the same requests."""

import datetime

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from chalicelib.tables.signing import Credentials, CredentialSource, Signer

NOW = 1_795_535_999
BODIES = [b"{}", b'{"TableName":"sinfonia-cloudlets","Key":{"cell":{"S":"\xc3\xa9"}}}', b"x" * 10_000]


class FrozenSigV4(SigV4Auth):
    """botocore's, at a time of ours: it takes the one in the context where it is told to."""

    def add_auth(self, request) -> None:
        stamp = datetime.datetime.fromtimestamp(NOW, datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        request.context["timestamp"] = stamp
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("token", [None, "FwoGZXIvYXdzE//token=="])
@pytest.mark.parametrize(
    ("region", "host"),
    [("eu-central-1", "dynamodb.eu-central-1.amazonaws.com"), ("us-east-1", "127.0.0.1:8000")],
)
def test_they_are_what_botocore_makes(body, token, region, host):
    signer = Signer(region, "dynamodb", host, lambda: NOW)
    for _ in range(2):  # the second with the remembered key
        headers = signer.headers(
            Credentials("AKIDEXAMPLE", "wJalrXUtn/FEMI+K7MDENG", token), "DynamoDB_20120810.Query", body
        )
    request = AWSRequest(
        "POST",
        f"https://{host}/",
        data=body,
        headers={
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": "DynamoDB_20120810.Query",
            "Host": host,
        },
    )
    credentials = BotocoreCredentials("AKIDEXAMPLE", "wJalrXUtn/FEMI+K7MDENG", token)
    FrozenSigV4(credentials, "dynamodb", region).add_auth(request)
    assert headers["authorization"] == request.headers["Authorization"]
    assert headers["x-amz-date"] == request.headers["X-Amz-Date"]


def test_another_day_or_secret_has_another_key():
    time = [NOW]
    signer = Signer("us-east-1", "dynamodb", "h", lambda: time[0])
    seen = set()
    for time[0], secret in ((NOW, "a"), (NOW + 86400, "a"), (NOW, "b"), (NOW, "a")):
        seen.add(signer.headers(Credentials("k", secret), "t", b"")["authorization"])
    assert len(seen) == 3


def test_credentials_are_the_environments_as_it_is_now():
    environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": ""}
    source = CredentialSource(environ)
    assert source() == Credentials("a", "b", None)
    environ["AWS_SESSION_TOKEN"] = "t"
    assert source() == Credentials("a", "b", "t")


def test_where_the_environment_has_none_botocore_is_asked(tmp_path, monkeypatch):
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = from-file\naws_secret_access_key = s\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert CredentialSource({})() == Credentials("from-file", "s", None)
