"""Reading DynamoDB on good days and bad ones, over real HTTP on loopback."""

import datetime
import json
import logging
import random
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from chalicelib.errors import Unavailable
from chalicelib.tables.dynamo_reader import ATTEMPTS, DynamoReader, with_bytes
from chalicelib.tables.signing import Credentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.fakes.cloud_dynamodb import breaks_off, fails, faulty_dynamodb, says
from tests.lab.engines import free_port

SECRET = "a-secret-that-nobody-may-see"


@pytest.fixture
def dynamodb():
    with faulty_dynamodb() as server:
        yield server


def reader(url: str, pauses: list[float] | None = None, monotonic=lambda: 0.0, **changed) -> DynamoReader:
    return DynamoReader(
        region="us-east-1",
        url=url,
        credentials=lambda: Credentials("AKID", SECRET, "session-token"),
        clock=lambda: 1_795_000_000,
        monotonic=monotonic,
        pause=(pauses if pauses is not None else []).append,
        chance=random.Random(1),
        **changed,
    )


def answer_after(count: int, behaviour):
    """Behave like this so many times, then answer."""
    left = [count]

    def behave(request):
        left[0] -= 1
        (behaviour if left[0] >= 0 else says(b'{"Items": []}'))(request)

    return behave


def test_an_answer_comes_back_as_it_is(dynamodb):
    dynamodb.behave = says(b'{"Items": [{"a": {"B": "AQI="}}], "Count": 1}')
    answer = reader(dynamodb.url).call("Query", {"TableName": "t"})
    assert answer == {"Items": [{"a": {"B": "AQI="}}], "Count": 1}
    assert with_bytes(answer["Items"][0]) == {"a": {"B": b"\x01\x02"}}
    assert dynamodb.calls == ["Query"]


@pytest.mark.parametrize(
    "behaviour",
    [
        fails(500, "InternalServerError"),
        fails(503, "ServiceUnavailable"),
        fails(400, "ThrottlingException"),
        fails(400, "ProvisionedThroughputExceededException"),
        fails(400, "RequestLimitExceeded"),
    ],
)
def test_what_passes_is_waited_for_and_longer_each_time(dynamodb, behaviour):
    pauses: list[float] = []
    dynamodb.behave = answer_after(ATTEMPTS - 1, behaviour)
    assert reader(dynamodb.url, pauses).call("Query", {}) == {"Items": []}
    assert len(pauses) == ATTEMPTS - 1
    assert 0.05 <= pauses[0] <= 0.1 <= pauses[1] <= 0.2
    pauses.clear()
    dynamodb.behave = behaviour
    with pytest.raises(Unavailable):
        reader(dynamodb.url, pauses).call("Query", {})
    assert len(pauses) == ATTEMPTS - 1


@pytest.mark.parametrize(
    "kind", ["ResourceNotFoundException", "ValidationException", "UnrecognizedClientException"]
)
def test_what_does_not_pass_is_not_tried_again(dynamodb, kind):
    dynamodb.behave = fails(400, kind)
    with pytest.raises(Unavailable, match=kind):
        reader(dynamodb.url).call("Query", {})
    assert len(dynamodb.calls) == 1


@pytest.mark.parametrize("count", [1, ATTEMPTS - 1])
def test_a_broken_connection_is_replaced(dynamodb, count):
    dynamodb.behave = answer_after(count, breaks_off)
    assert reader(dynamodb.url).call("GetItem", {}) == {"Items": []}
    assert len(dynamodb.calls) == count + 1


def test_silence_is_borne_twice_only(dynamodb):
    dynamodb.behave = dynamodb.hangs
    with pytest.raises(Unavailable):
        reader(dynamodb.url, read_seconds=0.03).call("Query", {})
    assert len(dynamodb.calls) == 2


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"Items": ['])
def test_nonsense_is_unavailable(dynamodb, body):
    dynamodb.behave = says(body)
    with pytest.raises(Unavailable):
        reader(dynamodb.url).call("Query", {})


@pytest.mark.parametrize("body", [b"[]", b"7", b"null"])
def test_an_answer_that_is_no_object_is_unavailable(dynamodb, body):
    dynamodb.behave = says(body)
    with pytest.raises(Unavailable):
        reader(dynamodb.url).call("Query", {})


def test_nobody_there_is_unavailable():
    with pytest.raises(Unavailable):
        reader(f"http://127.0.0.1:{free_port()}").call("Query", {})


def test_connections_are_kept_and_not_for_too_long(dynamodb):
    seen: list[object] = []
    time = [0.0]

    def behave(request):
        seen.append(request.client_address)
        says(b"{}")(request)

    dynamodb.behave = behave
    one = reader(dynamodb.url, monotonic=lambda: time[0])
    for _ in range(3):
        one.call("Query", {})
    assert len(set(seen)) == 1
    time[0] = 60.0
    one.call("Query", {})
    assert len(set(seen)) == 2


def test_many_threads_share_a_reader(dynamodb):
    dynamodb.behave = says(json.dumps({"Items": [{"n": {"S": "x" * 1000}}]}).encode())
    one = reader(dynamodb.url)
    begin = threading.Barrier(16)

    def call(_number: int) -> int:
        begin.wait(10)
        return sum(len(one.call("Query", {})["Items"]) for _ in range(5))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(call, range(16))) == [5] * 16


def test_secrets_are_in_no_log_and_no_error(dynamodb, caplog):
    caplog.set_level(logging.DEBUG)
    dynamodb.behave = fails(400, "UnrecognizedClientException")
    with pytest.raises(Unavailable) as raised:
        reader(dynamodb.url).call("Query", {})
    told = caplog.text + str(raised.value) + repr(Credentials("AKID", SECRET, "session-token"))
    assert SECRET not in told
    assert "session-token" not in told


def test_over_https_the_server_has_to_prove_who_it_is(tmp_path, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with faulty_dynamodb(context) as server:
        server.behave = says(b'{"Items": []}')
        url = server.url.replace("127.0.0.1", "localhost")
        with pytest.raises(Unavailable):
            reader(url).call("Query", {})
        assert server.calls == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert reader(url).call("Query", {}) == {"Items": []}


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate of localhost and its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin.replace(year=2090))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files
