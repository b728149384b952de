"""The form in which every benchmark hands in its result."""

import json
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figures:
    """Measured numbers, each with a unit and, where there is one, what it is compared to."""

    name: str
    figures: dict[str, float]
    unit: dict[str, str]
    compared_to: dict[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.figures.keys() != self.unit.keys() or not self.compared_to.keys() <= self.figures.keys():
            raise ValueError(f"{self.name}: every figure needs a unit, and only figures are compared")

    def to_json(self) -> str:
        """One line."""
        return json.dumps(
            {
                "name": self.name,
                "figures": self.figures,
                "unit": self.unit,
                "compared_to": self.compared_to,
            }
        )

    def to_text(self) -> str:
        """A table for people."""
        width = max(map(len, self.figures))
        lines = [self.name]
        for key, value in self.figures.items():
            compared = f"   (compared to {self.compared_to[key]})" if key in self.compared_to else ""
            lines.append(f"  {key:{width}}  {value:12.4g} {self.unit[key]}{compared}")
        return "\n".join(lines)
