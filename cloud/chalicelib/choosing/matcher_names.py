"""How matchers are named: built in, installed, or somebody's own behind an upcall.

Checked when an app or the root's settings name them; read by `chooser.py` and `upcall.py`. An upcall stands
alone: "lambda:<ARN of a function>" or "https://…".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points

from chalicelib.errors import InvalidRequest
from chalicelib.fields import Fields, parse_url

GROUP = "sinfonia.tier1_matchers"
BUILT_IN = ("network", "location", "load", "price", "trust", "spread", "random")
FUNCTION_PREFIX = "sinfonia-matcher-"  # a root may invoke these only: so says its policy, too
MOST_MATCHERS = 8
LONGEST_NAME = 256
LAMBDA = "lambda:"
# The AWS General Reference's form of a function's ARN, with or without a version or alias.
_ARN = re.compile(
    r"arn:aws[a-z-]{0,16}:lambda:([a-z]{2}(?:-[a-z]+){1,3}-\d):\d{12}:function:"
    rf"{FUNCTION_PREFIX}[A-Za-z0-9_-]{{1,47}}(?::[A-Za-z0-9_$-]{{1,128}})?"
)


@dataclass(frozen=True, slots=True)
class Function:
    """A Lambda function."""

    arn: str
    region: str


def parse_matchers(value: object, where: str, *, allow_private: bool = False) -> tuple[str, ...]:
    """An app's `matchers`: names that exist, or one upcall. Raises `InvalidRequest`.

    `allow_private`: an upcall may be http:// too.
    """
    names = Fields({where: value}, "body").each(where, MOST_MATCHERS, _name)
    for name in names:
        if is_upcall(name):
            _check_upcall(name, names, where, allow_private=allow_private)
        elif name not in BUILT_IN and name not in installed_names():
            raise InvalidRequest(f"{where}: there is no matcher called {name}")
    return names


def is_upcall(name: str) -> bool:
    """Whether a name is that of somebody's own matcher."""
    return name.startswith((LAMBDA, "https://", "http://"))


def function_of(name: str) -> Function | None:
    """The function that an upcall names; None if it names none that may be invoked."""
    found = _ARN.fullmatch(name.removeprefix(LAMBDA)) if name.startswith(LAMBDA) else None
    return None if found is None else Function(found[0], found[1])


@lru_cache(1)
def installed_names() -> frozenset[str]:
    """The names of installed matchers; what is installed does not change while a root runs."""
    return frozenset(entry.name for entry in entry_points(group=GROUP))


def _name(value: object, where: str) -> str:
    return Fields({where: value}, "body").text(where, LONGEST_NAME, 1, r"[!-~]+")


def _check_upcall(name: str, names: Sequence[str], where: str, *, allow_private: bool) -> None:
    if len(names) > 1:
        raise InvalidRequest(f"{where}: an upcall stands alone")
    if name.startswith(LAMBDA):
        if function_of(name) is None:
            raise InvalidRequest(
                f"{where}: must be lambda:arn:aws:lambda:<region>:<account>:function:{FUNCTION_PREFIX}<name>"
            )
    elif parse_url(name, where).scheme != "https" and not allow_private:
        raise InvalidRequest(f"{where}: must be an https URL")
