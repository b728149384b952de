"""The cache that several tenants share."""

import random
import threading

from chalicelib.accounts.fair_cache import FairCache
from hypothesis import given
from hypothesis import strategies as st


def test_it_forgets_in_time():
    now = [0.0]
    cache: FairCache[str, int] = FairCache(4, lambda: now[0])
    cache.put("a", 1, "x", 10)
    assert cache.get("a") == 1
    now[0] = 9.9
    assert cache.get("a") == 1
    now[0] = 10
    assert cache.get("a") is None
    cache.put("a", 2, "x", 10)
    assert cache.get("a") == 2
    cache.forget("a")
    cache.forget("a")
    assert cache.get("a") is None


def test_an_owner_may_change():
    cache: FairCache[str, int] = FairCache(4, lambda: 0.0)
    cache.put("a", 1, "x", 10)
    cache.put("a", 2, "y", 10)
    assert cache.get("a") == 2
    cache.clear()
    assert cache.get("a") is None


def test_who_floods_evicts_his_own():
    cache: FairCache[int, str] = FairCache(100, lambda: 0.0)
    for number in range(30):
        cache.put(number, "modest", "modest", 10)
    for number in range(1000, 9000):
        cache.put(number, "greedy", "greedy", 10)
    assert all(cache.get(number) == "modest" for number in range(30))
    assert sum(cache.get(number) is not None for number in range(1000, 9000)) == 70


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=200))
def test_it_is_bounded_and_evicts_nobody_below_his_share(puts):
    most, owners = 12, 6
    cache: FairCache[int, int] = FairCache(most, lambda: 0.0)
    last: dict[int, int] = {}
    for key, owner in puts:
        cache.put(key, owner, str(owner), 10)
        last[key] = owner
    kept = {key: owner for key, owner in last.items() if cache.get(key) is not None}
    assert len(kept) <= most
    assert all(cache.get(key) == owner for key, owner in kept.items())
    assert cache.get(puts[-1][0]) == puts[-1][1] if puts else True
    assert len(cache._values) == sum(map(len, cache._owned.values()))
    assert len(cache._owned) <= owners


def test_threads_share_it():
    cache: FairCache[int, int] = FairCache(50, lambda: 0.0)
    failed = []

    def hammer(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(2000):
                cache.put(chance.randrange(100), seed, str(seed), 1)
                cache.get(chance.randrange(100))
                cache.forget(chance.randrange(100))
        except Exception as error:  # noqa: BLE001 - reported by the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(cache._values) <= 50
