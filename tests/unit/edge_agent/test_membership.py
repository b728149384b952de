"""How the agent's settings become what its roots are told, and whose charts it fetches from where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_agent.arguments import make_parser
from edge_agent.deployments.requirements import Hardware, Offer
from edge_agent.identity import Identity
from edge_agent.recipes.repositories import Nothing
from edge_agent.roots.membership import Membership, _is_private
from edge_agent.roots.root_trust import KeysChanged
from edge_agent.settings import Settings
from tests.fakes.edge_agent_roots import NOW, SigningRoot
from tests.unit.edge_agent.test_wire import holds

ROOT = "http://root.example"
OFFER = Offer(Hardware(8, 2**34, "NVIDIA L4"), "US-PA", 0.12)


def membership(folder: Path, *options: str) -> Membership:
    least = ["run", "--runtime", "podman", "--recipes", "r", "--root", ROOT]
    arguments = make_parser().parse_args([*least, "--state", str(folder), *options])
    settings = Settings.from_arguments(arguments, lambda: "198.51.100.9")
    identity = Identity(folder, lambda: 7)
    identity.close()
    return Membership(settings, identity, OFFER, lambda: NOW)


def test_a_registration_says_what_the_operator_said(tmp_path: Path) -> None:
    said = membership(tmp_path, "--tenant", "acme", "--invitation", "inv_1.x")._registration(ROOT).to_json()
    holds("Registration", said)
    assert (said["tenant"], said["invitation"], said["price"]) == ("acme", "inv_1.x", 0.12)
    assert said["hardware"] == {"cores": 8, "memory_bytes": 2**34, "gpu": "NVIDIA L4"}
    assert said["endpoint"].startswith("http://")
    assert "callable" not in said


def test_a_cloudlet_that_can_not_be_called_has_no_endpoint(tmp_path: Path) -> None:
    said = membership(tmp_path, "--not-callable")._registration(ROOT).to_json()
    holds("Registration", said)
    assert said["callable"] is False
    assert "endpoint" not in said


def test_roots_give_recipes_only_where_the_operator_wants_it(tmp_path: Path) -> None:
    assert membership(tmp_path).recipes(Nothing()) is None
    assert membership(tmp_path, "--recipes-from-roots").recipes(Nothing()) is not None


def test_a_root_can_not_take_anothers_key_for_its_own(tmp_path: Path) -> None:
    """Keys are public: who names another's would be taken for it, and could release what that deployed."""
    liar = "http://liar.example"
    trusts = membership(tmp_path, "--root", liar)._trusts
    honest, own = SigningRoot().public, SigningRoot().public
    trusts[ROOT].pin([honest])
    for keys in ([honest], [own, honest]):
        with pytest.raises(KeysChanged, match=f"{liar} names a key of the root {ROOT}"):
            trusts[liar].pin(keys)
    assert trusts[liar].key(honest.thumbprint) is None
    trusts[ROOT].pin([honest])
    trusts[liar].pin([own])
    assert trusts[liar].key(own.thumbprint) == own


def test_a_liar_that_was_first_loses_the_key_to_the_root_that_has_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    liar = "http://liar.example"
    trusts = membership(tmp_path, "--root", liar)._trusts
    honest, own = SigningRoot().public, SigningRoot().public
    trusts[liar].pin([honest])
    with pytest.raises(KeysChanged, match="can't be told apart"):
        trusts[ROOT].pin([honest])
    trusts[ROOT].pin([honest], proven=True)
    assert trusts[ROOT].key(honest.thumbprint) == honest
    assert trusts[liar].key(honest.thumbprint) is None
    assert "another's key" in caplog.text
    again = membership(tmp_path, "--root", liar)._trusts
    assert again[liar].key(honest.thumbprint) is None
    for proven in (False, True):
        with pytest.raises(KeysChanged, match=f"{liar} names a key of the root {ROOT}"):
            again[liar].pin([honest, own], proven=proven)
    again[liar].pin([own], proven=True)
    assert again[liar].key(own.thumbprint) == own


def test_what_was_proven_once_stays_proven_for_these_keys(tmp_path: Path) -> None:
    liar = "http://liar.example"
    trusts = membership(tmp_path, "--root", liar)._trusts
    old, new = SigningRoot().public, SigningRoot().public
    trusts[ROOT].pin([old], proven=True)
    trusts[ROOT].pin([old])
    with pytest.raises(KeysChanged):
        trusts[liar].pin([old], proven=True)
    trusts[ROOT].pin([new, old])  # nobody showed that it has the new one
    trusts[liar].pin([new], proven=True)
    assert trusts[ROOT].key(new.thumbprint) is None


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://localhost:8080", True),
        ("http://198.51.100.10:8080", True),
        ("http://[fd00::1]/", True),
        ("https://8.8.8.8/", False),
        ("https://root.example.org", False),
    ],
)
def test_charts_may_be_where_the_root_is(url: str, private: Any) -> None:
    assert _is_private(url) is private
