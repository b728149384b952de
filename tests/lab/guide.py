"""The code of the SDK's guide, block by block. Used by the tests that try it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.lab.world import PROJECT

PATH = PROJECT / "device_sdk" / "README.md"
_BLOCK = re.compile(
    r"^## (?P<section>[^\n]*)$|^(?:<!-- (?P<remark>[^\n]*) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One block. `runs`: whether it can be run as it is; `goes_on`: where its program serves then."""

    section: str
    language: str
    text: str
    runs: bool
    goes_on: str

    @property
    def commands(self) -> list[str]:
        """What is typed, of a console: continued lines as one, remarks left out."""
        joined = self.text.replace("\\\n", " ")
        found = re.findall(r"^\$ (.*)$", joined, re.MULTILINE)
        return [re.sub(r"\s+# .*$", "", command) for command in found]


def blocks() -> list[Block]:
    """All of them, in order."""
    found, section = [], ""
    for match in _BLOCK.finditer(PATH.read_text()):
        if match["section"]:
            section = match["section"]
            continue
        kind, _, words = (match["remark"] or "").partition(": ")
        assert kind in ("", "not run", "goes on"), match["remark"]
        goes_on = words if kind == "goes on" else ""
        found.append(Block(section, match["language"], match["text"], kind != "not run", goes_on))
    return found
