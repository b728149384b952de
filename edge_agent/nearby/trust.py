"""Which devices may call this cloudlet directly, as its operator chose, and how it shows them who it is.

`open`: anybody whose packets reach it. `pairing`: devices that were paired by a code. `keys`: devices whose
keys the operator lists. Asked by `callers.py` and `api.py`; asks `devices.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_agent.nearby.codes import Codes
from edge_agent.nearby.devices import Devices
from edge_agent.nearby.pairing import Pairing
from edge_agent.serving.signatures import PublicKey, sign

Mode = Literal["open", "pairing", "keys"]
MODES: tuple[Mode, ...] = ("open", "pairing", "keys")


class DeviceTrust:
    """The keys of devices. `now` is seconds since 1970, by the clock that devices' signatures are held to."""

    url = ""
    """No root."""

    def __init__(
        self, mode: Mode, listed: Mapping[str, PublicKey], devices: Devices, now: Callable[[], float]
    ) -> None:
        self.mode = mode
        self.now = now
        self._listed = listed
        self._devices = devices

    def key(self, kid: Any) -> PublicKey | None:
        """The key of this name, if its device may call."""
        if isinstance(kid, str) and kid in self._listed:
            return self._listed[kid]
        return None if self.mode == "keys" else self._devices.key(kid)


class Seal:
    """Signs answers to devices that signed their calls, so that they know an impostor by its answer."""

    def __init__(self, own_key: PublicKey, signer: Callable[[bytes], bytes]) -> None:
        self._kid = own_key.thumbprint
        self._signer = signer

    def of(self, device: str, nonce: str, status: int, body: bytes) -> str:
        """The header for an answer: to this device's key, to the call with this nonce, and no other."""
        return sign({"kid": self._kid, "aud": device, "jti": nonce, "status": status}, body, self._signer)


@dataclass(frozen=True)
class Nearby:
    """What the API needs for devices that call it directly. `pairing` is None where nobody can be paired."""

    trust: DeviceTrust
    seal: Seal
    pairing: Pairing | None


def make_nearby(
    mode: Mode,
    listed: Sequence[PublicKey],
    state: Path,
    own_key: PublicKey,
    signer: Callable[[bytes], bytes],
    clock: Callable[[], float],
    now: Callable[[], float],
) -> Nearby:
    """All of it, kept in the folder `state`. `clock` is monotonic, `now` seconds since 1970."""
    devices = Devices(state / "devices")
    trust = DeviceTrust(mode, {key.thumbprint: key for key in listed}, devices, now)
    pairing = None if mode == "keys" else Pairing(own_key, Codes(state, now), devices, clock, now)
    return Nearby(trust, Seal(own_key, signer), pairing)
