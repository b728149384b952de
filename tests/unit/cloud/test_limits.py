"""Paces in memory, allowances in blocks, and what the views are told."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from uuid import UUID, uuid4

import pytest
from chalicelib.accounts.limits import Allowances, DeployQuota, Limits, Pace, Paces, prefix_of
from chalicelib.errors import TooMany
from chalicelib.problems import problem_of
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.cloud_limits import FakeLimitTable

APP = UUID(int=7)
NOON = 1_795_521_600.0  # a full minute, and the day's first second is 43,200 seconds away


class Clock:
    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class App:
    uuid: UUID = APP
    tenant: str = ""
    deploys_per_minute: int | None = None


class Quotas:
    def __init__(self, **quotas: DeployQuota) -> None:
        self.quotas = quotas

    def deploy_quota(self, tenant: str) -> DeployQuota:
        return self.quotas.get(tenant, DeployQuota())


class Site:
    def __init__(self, per_address: float = 1e6, per_app: float = 1e6, **quotas: DeployQuota) -> None:
        self.clock, self.store = Clock(), FakeLimitTable()
        self.limits = Limits(
            Paces(per_address, per_app), Allowances(self.store, self.clock), Quotas(**quotas), self.clock
        )


def test_a_burst_and_then_the_pace():
    clock = Clock(0.0)
    pace = Pace(2.0, 4, clock)
    assert [pace.take("x") for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert pace.take("y") == 0
    clock.now = 0.5
    assert pace.take("x") == 0
    assert pace.take("x") == pytest.approx(0.5)
    clock.now = 100.0
    assert [pace.take("x") > 0 for _ in range(5)] == [False] * 4 + [True]


@given(st.lists(st.floats(0, 3), max_size=80), st.floats(0.1, 20), st.integers(1, 10))
def test_nobody_gets_more_than_burst_and_pace(pauses, per_second, burst):
    clock = Clock(1000.0)
    pace, taken = Pace(per_second, burst, clock), 0
    for pause in pauses:
        clock.now += pause
        wait = pace.take("x")
        taken += wait == 0
        assert wait <= 1 / per_second + 1e-6
        assert taken <= burst + (clock.now - 1000.0) * per_second + 1e-3
    clock.now += burst / per_second + 1e-3
    assert pace.wait("x") == 0


def test_who_waits_as_told_may_go_on():
    clock = Clock(1000.0)
    pace = Pace(3.0, 1, clock)
    for _ in range(20):
        assert pace.take("x") == 0
        clock.now += pace.take("x")


def test_a_flood_of_callers_takes_bounded_memory_and_forgets_the_quiet_first():
    pace = Pace(0.001, 1, Clock(0.0), remembered=100)
    assert pace.take("loud") == 0
    for number in range(1000):
        pace.take(number)
        assert pace.take("loud") > 0, "it is still remembered"
    assert len(pace._full_at) == 100


def test_threads_share_a_pace_fairly():
    pace = Pace(0.001, 50, Clock(0.0))
    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(lambda _: pace.take("x"), range(200)))
    assert waits.count(0) == 50


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:0:0:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("0.0.0.1", "0:0:0:1::", False),
    ],
)
def test_a_caller_is_an_address_or_a_64(one, other, same):
    assert (prefix_of(ip_address(one)) == prefix_of(ip_address(other))) is same


def test_an_allowance_is_used_up_to_the_last_and_comes_back():
    clock, store = Clock(NOON + 15), FakeLimitTable()
    allowances = Allowances(store, clock)
    assert [allowances.take("x", 7, 60) for _ in range(9)] == [0] * 7 + [45, 45]
    clock.now = NOON + 60
    assert allowances.take("x", 7, 60) == 0


@pytest.mark.parametrize(
    ("most", "writes"), [(1, 1), (10, 10), (60, 22), (600, 25), (10_000, 30), (10**6, 40)]
)
def test_a_busy_container_uses_a_limit_up_with_few_writes(most, writes):
    store = FakeLimitTable()
    allowances = Allowances(store, Clock())
    for _ in range(min(most, 20_000)):
        assert allowances.take("x", most, 60) == 0
    assert store.writes <= writes
    if most <= 20_000:
        before = store.writes
        assert all(allowances.take("x", most, 60) > 0 for _ in range(1000))
        assert store.writes <= before + 1, "who has nothing left does not ask again and again"


def test_many_quiet_containers_share_a_small_limit():
    """With whole blocks of a 20th, 20 containers would hold everything and the 21st would get nothing."""
    store, clock = FakeLimitTable(), Clock()
    containers = [Allowances(store, clock) for _ in range(100)]
    assert [each.take("x", 200, 60) for each in containers] == [0] * 100


@pytest.mark.parametrize("most", [1, 19, 20, 21, 333])
def test_together_containers_never_exceed_it(most):
    store, clock = FakeLimitTable(), Clock()
    containers = [Allowances(store, clock) for _ in range(3)]
    taken = sum(each.take("x", most, 60) == 0 for _ in range(most) for each in containers)
    assert taken == most


def test_threads_never_exceed_it():
    allowances = Allowances(FakeLimitTable(), Clock())
    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(lambda _: allowances.take("x", 90, 60), range(300)))
    assert waits.count(0) == 90


def test_a_table_that_is_away_leaves_each_container_its_own_limit(caplog):
    store, clock = FakeLimitTable(), Clock()
    store.away = True
    allowances = Allowances(store, clock)
    assert [allowances.take("x", 3, 60) == 0 for _ in range(5)] == [True] * 3 + [False] * 2
    assert store.writes == 1, "it is not asked at every call"
    assert [record.limit for record in caplog.records] == ["x"]
    store.away, clock.now = False, NOON + 60
    assert allowances.take("x", 3, 60) == 0
    assert store.writes == 2


def test_a_slow_reservation_delays_nobody_else():
    entered, leave = threading.Event(), threading.Event()

    class Slow(FakeLimitTable):
        def reserve(self, name, *rest) -> int:
            if name == "slow":
                entered.set()
                assert leave.wait(5)
            return super().reserve(name, *rest)

    allowances = Allowances(Slow(), Clock())
    waiting = threading.Thread(target=allowances.take, args=("slow", 5, 60))
    waiting.start()
    try:
        assert entered.wait(5)
        assert allowances.take("other", 5, 60) == 0
    finally:
        leave.set()
        waiting.join(5)


def test_kinds_of_calls_have_buckets_of_their_own():
    site, address = Site(per_address=0.1), ip_address("192.0.2.1")
    site.limits.call("deploy", address)
    with pytest.raises(TooMany) as refused:
        site.limits.call("deploy", address)
    assert "address" in str(refused.value)
    assert problem_of(refused.value).headers["Retry-After"] == "10"
    site.limits.call("candidates", address)
    site.limits.call("deploy", ip_address("192.0.2.2"))


def test_apps_of_the_root_without_limits_cost_no_write():
    site = Site()
    for _ in range(1000):
        site.limits.deploy(App())
    site.limits.deploy(App(tenant="acme"))
    assert site.store.writes == 0


def test_a_wild_app_is_held_and_others_are_not():
    site = Site(per_app=1.0)
    for _ in range(10):
        site.limits.deploy(App())
    with pytest.raises(TooMany, match="this app"):
        site.limits.deploy(App())
    site.limits.deploy(App(uuid=uuid4()))


def test_an_app_has_its_own_limit():
    site = Site()
    for _ in range(3):
        site.limits.deploy(App(deploys_per_minute=3))
    with pytest.raises(TooMany, match="deploys of this app") as refused:
        site.limits.deploy(App(deploys_per_minute=3))
    assert refused.value.retry_after_seconds == 60


def test_a_tenants_quota_counts_all_its_apps_and_nobody_elses():
    site = Site(acme=DeployQuota(per_minute=4, per_day=6), other=DeployQuota(per_minute=4))
    for _ in range(4):
        site.limits.deploy(App(uuid=uuid4(), tenant="acme"))
    with pytest.raises(TooMany, match="this tenant"):
        site.limits.deploy(App(tenant="acme"))
    site.limits.deploy(App(tenant="other"))
    site.clock.now += 60
    for _ in range(2):
        site.limits.deploy(App(tenant="acme"))
    with pytest.raises(TooMany, match="today") as refused:
        site.limits.deploy(App(tenant="acme"))
    assert refused.value.retry_after_seconds == 43_200 - 60


def test_guessing_a_token_ends_soon_and_other_tokens_dont_notice():
    site, address = Site(), ip_address("2001:db8::1")
    for _ in range(100):
        site.limits.before_guess(address, "sf_acme.01_right")
    for number in range(10):
        site.limits.before_guess(address, f"sf_acme.01_wrong_{number}")
        site.limits.wrong_guess(address, f"sf_acme.01_wrong_{number}")
    with pytest.raises(TooMany, match="wrong tokens"):
        site.limits.before_guess(ip_address("2001:db8::2"), "sf_acme.01_right")
    site.limits.before_guess(address, "sf_acme.02_right")
    site.limits.before_guess(ip_address("192.0.2.1"), "sf_acme.01_right")
    site.clock.now += 10
    site.limits.before_guess(address, "sf_acme.01_right")


def test_guessing_with_another_id_each_time_is_held_by_the_pace_of_calls():
    site, address = Site(per_address=1.0), ip_address("192.0.2.1")
    for number in range(10):
        site.limits.before_guess(address, f"sf_{number}_x")
        site.limits.wrong_guess(address, f"sf_{number}_x")
    with pytest.raises(TooMany, match="calls"):
        site.limits.before_guess(address, "sf_10_x")


@pytest.mark.parametrize("token", ["", "_", "sf", "sf_", "x" * 10_000, "é_\n_"])
def test_any_text_can_be_shown_as_a_token(token):
    site, address = Site(), ip_address("192.0.2.1")
    site.limits.before_guess(address, token)
    site.limits.wrong_guess(address, token)


def test_a_cloudlet_reports_in_measure():
    site, cloudlet = Site(), uuid4()
    for _ in range(12):
        site.limits.report(cloudlet)
    with pytest.raises(TooMany, match="this cloudlet"):
        site.limits.report(cloudlet)
    site.limits.report(uuid4())
