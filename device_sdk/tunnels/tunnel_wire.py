"""How a tunnel is set up, as the contract (`openapi.yaml`) has it: part of `wire.py`, which says how these
types behave. What the values may ask of this device is for `routes.py`.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from device_sdk.fields import items, key, mapping, optional, required, text


def encode_key(public_key: bytes) -> str:
    """A key as JSON carries it."""
    return base64.b64encode(public_key).decode("ascii")


@dataclass(frozen=True)
class TunnelIPv6:
    """The same tunnel in IPv6: the device's addresses and what lies behind; `endpoint`, if the gateway is
    reached over IPv6 too.
    """

    endpoint: str | None = None
    allowed_ips: tuple[str, ...] = ()
    address: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Any, path: str = "TunnelConfig.ipv6") -> TunnelIPv6:
        """Raise `WireError` unless `value` has that form."""
        data = mapping(value, path)

        def texts(name: str, most: int) -> tuple[str, ...]:
            return optional(data, name, path, lambda v, p: items(v, p, text, most)) or ()

        return cls(
            endpoint=optional(data, "endpoint", path, text),
            allowed_ips=texts("allowedIPs", 64),
            address=texts("address", 8),
            dns=texts("dns", 16),
        )

    def to_json(self) -> dict[str, Any]:
        """The contract's `ipv6`, with what there is."""
        lists = {"allowedIPs": self.allowed_ips, "address": self.address, "dns": self.dns}
        endpoint = {} if self.endpoint is None else {"endpoint": self.endpoint}
        return {**endpoint, **{name: list(held) for name, held in lists.items() if held}}


@dataclass(frozen=True)
class TunnelConfig:
    """The WireGuard parameters of a target. `endpoint` is a literal address and UDP port."""

    public_key: bytes
    allowed_ips: tuple[str, ...]
    endpoint: str
    address: tuple[str, ...]
    dns: tuple[str, ...]
    ipv6: TunnelIPv6 | None = None

    @classmethod
    def from_json(cls, value: Any, path: str = "TunnelConfig") -> TunnelConfig:
        """Raise `WireError` unless `value` has the form of a tunnel; see `routes.py` for what it may say."""
        data = mapping(value, path)
        return cls(
            public_key=required(data, "publicKey", path, key),
            allowed_ips=required(data, "allowedIPs", path, lambda v, p: items(v, p, text, 64)),
            endpoint=required(data, "endpoint", path, text),
            address=required(data, "address", path, lambda v, p: items(v, p, text, 8)),
            dns=required(data, "dns", path, lambda v, p: items(v, p, text, 16)),
            ipv6=optional(data, "ipv6", path, TunnelIPv6.from_json),
        )

    def to_json(self) -> dict[str, Any]:
        """The contract's `TunnelConfig`."""
        ipv6 = {} if self.ipv6 is None else {"ipv6": self.ipv6.to_json()}
        return {
            "publicKey": encode_key(self.public_key),
            "allowedIPs": list(self.allowed_ips),
            "endpoint": self.endpoint,
            "address": list(self.address),
            "dns": list(self.dns),
            **ipv6,
        }
