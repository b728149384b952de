"""The cloudlet's half of pairing by a short code: SPAKE2, then both sides show that they know the same code.

Called by `pairing.py`; the one module that knows `spake2`. Whoever listens, or stands in between, learns
nothing by which codes could be tried afterwards: each guess costs one exchange with somebody who counts.
"""

from __future__ import annotations

import hashlib
import hmac

from spake2 import SPAKE2_B, SPAKEError
from spake2.ed25519_basic import NotOnCurve

from edge_agent.errors import InvalidRequest

MESSAGE_BYTES = 33
"""A byte for the side, and a point of edwards25519."""
_DEVICE = b"sinfonia device"
_CLOUDLET = b"sinfonia cloudlet"


class Exchange:
    """One exchange with one device. `message` is what the device needs, 33 bytes."""

    def __init__(self, code: str, device_message: bytes) -> None:
        """Raises `InvalidRequest` for a message that is none."""
        half = SPAKE2_B(code.encode(), idA=_DEVICE, idB=_CLOUDLET)
        self.message: bytes = half.start()
        if len(device_message) != MESSAGE_BYTES:
            raise InvalidRequest(f"message: must have {MESSAGE_BYTES} bytes")
        try:
            self._secret: bytes = half.finish(device_message)
        except (SPAKEError, NotOnCurve, ValueError) as error:
            raise InvalidRequest("message: is no message of SPAKE2 on edwards25519") from error
        self._talk = device_message + self.message

    def confirms(self, given: bytes, device_key: bytes, name: str, own_key: bytes) -> bool:
        """Whether the device knows the code, and means these keys; takes the same time for any answer."""
        return hmac.compare_digest(self._proof(_DEVICE, device_key, own_key, name), given)

    def confirmation(self, device_key: bytes, name: str, own_key: bytes) -> bytes:
        """What shows the device that this cloudlet knows the code, and means the same, 32 bytes."""
        return self._proof(_CLOUDLET, device_key, own_key, name)

    def _proof(self, side: bytes, device_key: bytes, own_key: bytes, name: str) -> bytes:
        said = self._talk + device_key + own_key + name.encode()  # all but the last have fixed lengths
        return hmac.new(self._secret, side + b"\0" + said, hashlib.sha256).digest()
