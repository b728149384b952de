"""What an app or a device demands of a cloudlet. Whatever does not meet it is no candidate.

Read by `wire.py` (a device's) and by the management of apps (an app's); asked by `matching.py`. Where a
cloudlet does not say what it has, it does not meet what is demanded; one that names no price asks for none.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chalicelib.errors import InvalidRequest
from chalicelib.fields import Fields
from chalicelib.fleet.cloudlets import Cloudlet, Trust

MOST_JURISDICTIONS = 64
MOST_CORES = 4096
MOST_MEMORY_BYTES = 2**50
HIGHEST_PRICE = 1e6
# ISO 3166-1 alpha-2, or a subdivision of ISO 3166-2.
JURISDICTION = r"[A-Z]{2}(-[A-Z0-9]{1,3})?"


@dataclass(frozen=True, slots=True)
class Requirements:
    """Every field is met by anything where it was not given.

    `cores` and `memory_bytes` are what the cloudlet has, not what is free. Of `jurisdictions` one is enough;
    a country covers its subdivisions. `max_price`: units of the root's currency per hour. `cached`: the app's
    images are there already.
    """

    gpu: bool = False
    memory_bytes: int | None = None
    cores: int | None = None
    jurisdictions: tuple[str, ...] = ()
    trust: Trust = Trust.UNSIGNED
    max_price: float | None = None
    cached: bool = False

    @classmethod
    def from_json(cls, value: object, where: str = "requirements") -> "Requirements":
        """From `Requirements` of the contract. Raises `InvalidRequest`."""
        fields = Fields(value, where)
        return cls(
            gpu=fields.boolean("gpu") if fields.has("gpu") else False,
            memory_bytes=fields.integer("memory_bytes", 0, MOST_MEMORY_BYTES)
            if fields.has("memory_bytes")
            else None,
            cores=fields.integer("cores", 1, MOST_CORES) if fields.has("cores") else None,
            jurisdictions=fields.each("jurisdictions", MOST_JURISDICTIONS, parse_jurisdiction),
            trust=parse_trust(fields.get("trust"), fields.name("trust"))
            if fields.has("trust")
            else Trust.UNSIGNED,
            max_price=fields.number("max_price", 0, HIGHEST_PRICE) if fields.has("max_price") else None,
            cached=fields.boolean("cached") if fields.has("cached") else False,
        )

    def to_json(self) -> dict[str, Any]:
        """As `Requirements` of the contract; only what is demanded."""
        demanded = {
            "gpu": self.gpu or None,
            "memory_bytes": self.memory_bytes,
            "cores": self.cores,
            "jurisdictions": list(self.jurisdictions) or None,
            "trust": self.trust.name.lower() if self.trust > Trust.UNSIGNED else None,
            "max_price": self.max_price,
            "cached": self.cached or None,
        }
        return {name: value for name, value in demanded.items() if value is not None}

    def admits(self, cloudlet: Cloudlet, app_uuid: UUID) -> bool:
        """Whether a cloudlet meets all of it for this app."""
        return (
            cloudlet.trust >= self.trust
            and self._fits(cloudlet)
            and (not self.jurisdictions or self._covers(cloudlet.jurisdiction))
            and (self.max_price is None or (cloudlet.price or 0.0) <= self.max_price)
            and (not self.cached or app_uuid in cloudlet.cached)
        )

    def _fits(self, cloudlet: Cloudlet) -> bool:
        hardware = cloudlet.hardware
        return (
            (not self.gpu or bool(hardware.gpu))
            and (hardware.cores or 0) >= (self.cores or 0)
            and (hardware.memory_bytes or 0) >= (self.memory_bytes or 0)
        )

    def _covers(self, jurisdiction: str | None) -> bool:
        if jurisdiction is None:
            return False
        return jurisdiction in self.jurisdictions or jurisdiction[:2] in self.jurisdictions


def parse_jurisdiction(value: object, where: str) -> str:
    """An ISO 3166 code of a country or of a part of one: "DE", "US-PA"."""
    return Fields({where: value}, "body").text(where, 6, 2, JURISDICTION)


def parse_trust(value: object, where: str) -> Trust:
    """A trust level by its name."""
    for level in Trust:
        if value == level.name.lower():
            return level
    raise InvalidRequest(f"{where}: must be one of {', '.join(level.name.lower() for level in Trust)}")
