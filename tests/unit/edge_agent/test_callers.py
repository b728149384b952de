"""Whose call it is: what a signature covers, how long it holds, and that it holds once."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import Unauthorized
from edge_agent.serving.callers import MAX_LIFE_SECONDS, SLACK_SECONDS, Call, Caller, Callers
from tests.fakes.edge_agent_parts import AGENT, Clock
from tests.fakes.edge_agent_roots import NOW, ROOT, SigningRoot, trust

TARGET = f"/{uuid.UUID(int=0)}/HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw?wait=0"
BODY = b'{"network": {}}'
CALL = Call("POST", TARGET, BODY)


class Made:
    def __init__(self, folder: Path, **options: Any) -> None:
        self.clock = Clock()
        self.root = SigningRoot()
        self.trust = trust(folder, self.root, clock=self.clock)
        self.callers = Callers(AGENT, self.trust, self.clock, **options)

    def sign(self, **claims: Any) -> str:
        return self.root.sign("POST", TARGET, BODY, **claims)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_a_root_is_known_by_its_signature(made: Made) -> None:
    assert made.callers.identify(made.sign(), CALL) == Caller(ROOT)
    told = made.callers.identify(made.sign(ip="192.0.2.50", loc="40.4,-79.9"), CALL)
    assert told == Caller(ROOT, "192.0.2.50", (40.4, -79.9))


def test_a_call_without_one_is_anybodys(made: Made, tmp_path: Path) -> None:
    assert made.callers.identify(None, CALL) is None
    with pytest.raises(Unauthorized, match="no signature"):
        Made(tmp_path / "other", only_roots=True).callers.identify(None, CALL)


@pytest.mark.parametrize(
    "call",
    [
        Call("DELETE", TARGET, BODY),
        Call("POST", TARGET + "&results=3", BODY),
        Call("POST", TARGET.partition("?")[0], BODY),
        Call("POST", TARGET.replace("HIgo", "HIga"), BODY),
        Call("POST", TARGET, BODY + b" "),
        Call("POST", TARGET, b""),
    ],
)
def test_it_is_good_for_no_other_call(made: Made, call: Call) -> None:
    with pytest.raises(Unauthorized):
        made.callers.identify(made.sign(), call)


def test_the_path_may_be_escaped(made: Made) -> None:
    assert made.callers.identify(made.sign(htu=TARGET.replace("-", "%2D", 1)), CALL)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": str(uuid.UUID(int=9))},
        {"aud": [str(AGENT)]},
        {"aud": None},
        {"kid": "unknown"},
        {"kid": None},
        {"kid": 7},
        {"htm": None},
        {"htu": None},
        {"htu": 7},
        {"htu": "/"},
        {"htu": "/x" + TARGET},
        {"htu": "x" * 2000},
        {"exp": None},
        {"exp": "soon"},
        {"exp": 1e300},
        {"exp": int(NOW) - SLACK_SECONDS - 1},
        {"exp": int(NOW) + MAX_LIFE_SECONDS + SLACK_SECONDS + 1},
        {"iat": int(NOW) + SLACK_SECONDS + 1},
        {"iat": "now"},
        {"ip": "nowhere"},
        {"ip": 7},
        {"loc": "91,0"},
        {"loc": [1, 2]},
    ],
)
def test_wrong_claims_are_refused(made: Made, claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized):
        made.callers.identify(made.sign(**claims), CALL)


def test_another_key_under_the_roots_name_is_refused(made: Made) -> None:
    impostor = SigningRoot()
    forged = impostor.sign("POST", TARGET, BODY, kid=made.root.public.thumbprint)
    with pytest.raises(Unauthorized, match="wrong"):
        made.callers.identify(forged, CALL)


def test_a_signature_holds_once_and_for_its_time(made: Made) -> None:
    signature = made.sign()
    assert made.callers.identify(signature, CALL)
    with pytest.raises(Unauthorized, match="used before"):
        made.callers.identify(signature, CALL)
    made.clock.seconds += 60 + SLACK_SECONDS
    with pytest.raises(Unauthorized, match="used before"):
        made.callers.identify(signature, CALL)
    made.clock.seconds += 1
    with pytest.raises(Unauthorized, match="expired"):
        made.callers.identify(signature, CALL)


def test_a_refused_call_does_not_use_a_signature_up(made: Made) -> None:
    signature = made.sign()
    with pytest.raises(Unauthorized):
        made.callers.identify(signature, Call("POST", TARGET, b"other"))
    assert made.callers.identify(signature, CALL)


def test_used_signatures_are_forgotten_when_they_have_expired(made: Made) -> None:
    for _ in range(5):
        made.callers.identify(made.sign(), CALL)
    made.clock.seconds += 200
    made.callers.identify(made.sign(iat=int(NOW) + 200, exp=int(NOW) + 260), CALL)
    assert len(made.callers._used) == 1


def test_hours_between_the_clocks_do_not_matter_once_the_root_has_told_its_time(made: Made) -> None:
    late = made.sign(iat=int(NOW) + 7200, exp=int(NOW) + 7260)
    with pytest.raises(Unauthorized, match="later time"):
        made.callers.identify(late, CALL)
    made.trust[0].learn_time("Tue, 24 Nov 2026 14:38:10 GMT")  # NOW and two hours
    assert made.callers.identify(late, CALL)


def test_each_root_has_its_own_keys_and_time(tmp_path: Path) -> None:
    first, second, clock = SigningRoot(), SigningRoot("https://second.example"), Clock()
    callers = Callers(AGENT, trust(tmp_path, first, second, clock=clock), clock)
    for root in (first, second):
        caller = callers.identify(root.sign("POST", TARGET, BODY), CALL)
        assert caller is not None
        assert caller.root == root.url
