"""How long a request is expected to take, with and without measurements."""

import pytest
from chalicelib.choosing.estimate import expected_ms, reach_of, with_reach
from chalicelib.choosing.reach import ACCESS_MS, LINK_MBPS, Measured, Reach
from chalicelib.fleet.cloudlets import Hardware
from chalicelib.fleet.geo import Location
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.cloud.candidates import HERE, client, cloudlet


def busy(number, location=HERE, **use):
    return cloudlet(number, location, use=use)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (busy(1, cpu_ratio=0.1), busy(2, cpu_ratio=0.9)),
        (busy(1, gpu_ratio=5.0), busy(2, gpu_ratio=95.0)),
        (busy(1, mem_ratio=0.7), busy(2, mem_ratio=0.99)),
        (busy(1, net_rx_rate=1e6), busy(2, net_rx_rate=1.2e8)),
        (busy(1, net_tx_rate=1e6), busy(2, net_tx_rate=1e12)),
        (busy(1, net_tx_rate=1.2e8), busy(2, net_tx_rate=1.2e8, net_rx_rate=1.2e8)),
        (busy(1), busy(2, Location(48, 2))),
        (busy(1, Location(41, -80)), busy(2, None)),
        (busy(1, None), busy(2, Location(-30, 100))),
        (busy(1, Location(40.6, -79), cpu_ratio=0.1), busy(2, HERE, cpu_ratio=0.97)),
        (busy(1, HERE, cpu_ratio=0.5), busy(2, Location(34, -118), cpu_ratio=0.1)),
        (busy(1, cpu_ratio=0.2), busy(2)),
        (busy(1), busy(2, cpu_ratio=0.9)),
    ],
)
def test_use_is_weighed_against_distance(better, worse):
    assert expected_ms(client(), better) < expected_ms(client(), worse)


def test_many_cores_as_busy_make_a_job_wait_less():
    one, many = (cloudlet(n, hardware=Hardware(cores=n), use={"cpu_ratio": 0.9}) for n in (1, 64))
    assert expected_ms(client(), many) < expected_ms(client(), one) / 5


def test_a_measured_round_trip_counts_instead_of_the_distance():
    near, far = busy(1, cpu_ratio=0.1), busy(2, Location(42, -78), cpu_ratio=0.1)
    assert expected_ms(client(), near) < expected_ms(client(), far)
    informed = with_reach(client(), {near.uuid: Measured(80), far.uuid: Measured(12)}, [near, far])
    assert expected_ms(informed, near) - expected_ms(informed, far) == pytest.approx(68)


def test_a_slow_access_network_is_slow_to_all():
    """Otherwise whatever was not measured would look 30 ms nearer."""
    measured, unmeasured = busy(1), busy(2, Location(41, -79))
    reach = reach_of(client(), {measured.uuid: Measured(33, 20.0)}, [measured, unmeasured])
    assert reach.access_ms == 33
    assert reach.link_mbps == 20
    informed = client(reach=reach)
    assert expected_ms(informed, measured) < expected_ms(informed, unmeasured)


def test_the_least_and_the_best_measured_stand_for_the_access_network():
    rows = [busy(1), busy(2), busy(3, None)]
    values = [Measured(90, 5.0), Measured(20), Measured(1, 2000.0)]
    reach = reach_of(client(), {row.uuid: value for row, value in zip(rows, values, strict=True)}, rows)
    assert (reach.access_ms, reach.link_mbps) == (20, LINK_MBPS)


def test_measurements_of_other_cloudlets_change_nothing():
    informed = with_reach(client(), {busy(9).uuid: Measured(90, 1.0)}, [busy(1)])
    assert expected_ms(informed, busy(1)) == expected_ms(client(), busy(1))
    assert with_reach(client(), {}, [busy(1)]) == client()


def test_a_measured_low_throughput_costs():
    row = busy(1)
    fast, slow = (
        client(reach=Reach({row.uuid: Measured(10, mbps)}, ACCESS_MS, LINK_MBPS)) for mbps in (500.0, 10.0)
    )
    assert expected_ms(slow, row) - expected_ms(fast, row) == pytest.approx(78.4)


ratios = st.floats(0, 1)
rates = st.floats(0, 1e15)


@settings(max_examples=50)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "cpu_ratio": ratios,
            "mem_ratio": ratios,
            "gpu_ratio": st.floats(0, 100),
            "net_rx_rate": rates,
            "net_tx_rate": rates,
        },
    ),
    st.integers(1, 4096),
    st.floats(0, 60000),
    st.floats(0, 1e6),
)
def test_every_estimate_is_a_finite_time(use, cores, rtt_ms, mbps):
    row = cloudlet(1, use=use, hardware=Hardware(cores=cores))
    informed = with_reach(client(), {row.uuid: Measured(rtt_ms, mbps)}, [row])
    for who in (client(), informed):
        assert 0 <= expected_ms(who, row) < 1e9
