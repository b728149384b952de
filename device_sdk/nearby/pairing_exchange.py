"""The device's half of pairing by a short code: SPAKE2, then both sides show that they know the same code.

Called by `pairing.py`; the one module that knows `spake2`, which is optional.
"""

from __future__ import annotations

import hashlib
import hmac

from device_sdk.errors import DeviceError, TrustError

_DEVICE = b"sinfonia device"
_CLOUDLET = b"sinfonia cloudlet"


class Exchange:
    """One exchange with one cloudlet. `message` is what the cloudlet needs, 33 bytes."""

    def __init__(self, code: str) -> None:
        """Raises `DeviceError` where `spake2` is not installed."""
        try:
            from spake2 import SPAKE2_A
        except ImportError as error:
            raise DeviceError("To pair with cloudlets: pip install 'sinfonia-serverless[jit]'.") from error
        self._half = SPAKE2_A(code.encode(), idA=_DEVICE, idB=_CLOUDLET)
        self.message: bytes = self._half.start()

    def hear(self, message: bytes, own_key: bytes, cloudlet_key: bytes, name: str) -> None:
        """The cloudlet's message and key, and what this device calls itself. Raises `TrustError` for a
        message that is none.
        """
        from spake2 import SPAKEError
        from spake2.ed25519_basic import NotOnCurve

        try:
            self._secret: bytes = self._half.finish(message)
        except (SPAKEError, NotOnCurve, ValueError) as error:
            raise TrustError("The cloudlet does not pair as it should; is it one?") from error
        self._said = self.message + message + own_key + cloudlet_key + name.encode()

    @property
    def confirmation(self) -> bytes:
        """What shows the cloudlet that this device's person knows the code, 32 bytes."""
        return self._proof(_DEVICE)

    def confirms(self, given: bytes) -> bool:
        """Whether the cloudlet knows the code, and means these keys."""
        return hmac.compare_digest(self._proof(_CLOUDLET), given)

    def _proof(self, side: bytes) -> bytes:
        return hmac.new(self._secret, side + b"\0" + self._said, hashlib.sha256).digest()
