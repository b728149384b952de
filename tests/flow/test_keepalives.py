"""The agent's keepalives and the root's registry, over real HTTP."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path

import pytest
from app import app
from chalicelib.root import build_root
from chalicelib.settings import Settings
from wsgi import WsgiAdapter

from tests.fakes.cloud_stores import fake_stores
from tests.fakes.cloud_table import FakeTable
from tests.flow.member import Member
from tests.lab.web import serving

DAY_SECONDS = 24 * 3600.0


@pytest.mark.parametrize("secret", [b"0123456789abcdef", b"another secret!!"])
def test_a_lost_lease_is_renewed_in_the_same_incarnation(tmp_path: Path, secret: bytes) -> None:
    """A day later the token is too old (410), and a root with another secret knows none (401)."""
    table, now = FakeTable(), [time.time()]
    settings = Settings(lease_secret=b"0123456789abcdef", recipes=str(tmp_path), allow_private_endpoints=True)

    def clock() -> float:
        return now[0]

    app.serve(build_root(settings, fake_stores(table), clock=clock, chance=random.Random(0)))
    with serving(WsgiAdapter(app)) as url:
        member = Member(url, tmp_path, endpoint="http://192.0.2.7:7070/api/v1/deploy")
        root = member.root
        for _ in range(4):
            assert root.step() > 1
        now[0] += DAY_SECONDS + 60
        app.serve(build_root(replace(settings, lease_secret=secret), fake_stores(table), clock=clock))
        for pinned in (tmp_path / "roots").iterdir():
            pinned.unlink()  # as its operator does who knows that the root's secret was lost
        assert root.step() <= 1, "the lease is lost"
        for _ in range(3):
            assert root.step() > 1
            (row,) = table.find(member.uuid)
            assert row.expires_at > now[0]
        assert (row.incarnation, row.sequence) == (7, 6)
        root.goodbye()
        assert table.find(member.uuid) == []


def test_a_root_that_lost_its_secret_gets_no_cloudlet_that_knew_it(tmp_path: Path) -> None:
    table = FakeTable()
    settings = Settings(lease_secret=b"0123456789abcdef", recipes=str(tmp_path), allow_private_endpoints=True)
    app.serve(build_root(settings, fake_stores(table)))
    with serving(WsgiAdapter(app)) as url:
        member = Member(url, tmp_path, endpoint="http://192.0.2.7:7070/api/v1/deploy")
        member.root.step()
        for secrets, trusted in (
            (b"another secret!!,0123456789abcdef", True),  # a rotation: the new one first
            (b"another secret!!", True),
            (b"0123456789abcdef", False),
        ):
            app.serve(build_root(replace(settings, lease_secret=secrets), fake_stores(table)))
            member.again().step()
            assert bool(member.root.token) is trusted
            assert bool(table.find(member.uuid)) is trusted
        member.close()
