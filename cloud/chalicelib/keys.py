"""The device's WireGuard public key, in every spelling that clients put into a path.

Called by `app.py` with what stands behind the app's UUID in the path.
"""

import base64
import re
from urllib.parse import unquote

from chalicelib.errors import InvalidRequest

_KEY_BYTES = 32  # Curve25519, https://www.wireguard.com/protocol/
_COMPLAINT = "application_key: must be 32 bytes as base64 (44 or 43 characters) or as 64 hexadecimal digits"


def parse_application_key(text: str) -> bytes:
    """The 32 bytes of a key.

    Accepted: URL-safe or standard base64, with or without padding, escaped or raw with its slashes (a
    trailing slash of the path may still hang on), or 64 hexadecimal digits.
    """
    if "%" in text:
        text = unquote(text)
    if re.fullmatch(r"[0-9a-fA-F]{64}/?", text):
        return bytes.fromhex(text[:64])
    body = re.fullmatch(r"([A-Za-z0-9_/+-]{43})=?/?", text)
    if body is None:
        raise InvalidRequest(_COMPLAINT)
    urlsafe = body[1].replace("+", "-").replace("/", "_")
    key = base64.urlsafe_b64decode(urlsafe + "=")
    if len(key) != _KEY_BYTES or path_form(key) != urlsafe:
        raise InvalidRequest(_COMPLAINT)  # the last character carries bits that no key has
    return key


def json_form(key: bytes) -> str:
    """44 characters of padded standard base64, as JSON bodies and WireGuard's tools have it."""
    return base64.b64encode(key).decode()


def path_form(key: bytes) -> str:
    """43 characters of URL-safe base64, as paths have it."""
    return base64.urlsafe_b64encode(key).decode().rstrip("=")
