"""AWS Signature Version 4 for one kind of request: a JSON body sent by POST to the path "/".

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. Called by
`dynamo_reader.py`. The credentials are those of the environment, where Lambda puts them; botocore, which
knows every other place, is asked where there are none. Neither they nor what is derived from them is ever
logged.
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_CONTENT_TYPE = "application/x-amz-json-1.0"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key pair, with the session's token where it is a temporary one."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


class CredentialSource:
    """Where this process has its credentials from."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._chain: Any = None

    def __call__(self) -> Credentials:
        """Those that hold now; temporary ones are renewed in time. Empty ones where there are none."""
        access_key, secret_key = (
            self._environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        )
        if access_key and secret_key:
            return Credentials(access_key, secret_key, self._environ.get("AWS_SESSION_TOKEN") or None)
        if self._chain is None:
            import botocore.session

            self._chain = botocore.session.get_session().get_credentials()
        if self._chain is None:
            return Credentials("", "")  # DynamoDB says what it thinks of that
        frozen = self._chain.get_frozen_credentials()
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)


class Signer:
    """Signs requests to one host. Safe to share between threads."""

    def __init__(self, region: str, service: str, host: str, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since 1970."""
        self._region = region
        self._service = service
        self._host = host
        self._clock = clock
        self._key: tuple[tuple[str, str], bytes] = (("", ""), b"")  # of a secret and a day

    def headers(self, credentials: Credentials, target: str, body: bytes) -> dict[str, str]:
        """The headers of a request, the signature among them."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock()))
        signed = {"content-type": _CONTENT_TYPE, "host": self._host, "x-amz-date": stamp}
        if credentials.token is not None:
            signed["x-amz-security-token"] = credentials.token
        signed["x-amz-target"] = target  # in alphabetical order
        names = ";".join(signed)
        lines = "".join([f"{name}:{value}\n" for name, value in signed.items()])
        canonical = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
        signature = hmac.digest(self._signing_key(credentials, stamp[:8]), text.encode(), "sha256").hex()
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return signed

    def _signing_key(self, credentials: Credentials, day: str) -> bytes:
        of, key = self._key
        if of != (credentials.secret_key, day):
            key = f"AWS4{credentials.secret_key}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key = (credentials.secret_key, day), key
        return key
