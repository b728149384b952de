"""Which rights the agent has, as the kernel tells them. What it hands down is seen in test_agent_pod.py."""

from edge_agent.capabilities import NET_ADMIN, hand_down, may_set_up_tunnels, read_sets

STATUS = """\
Name:\tpython
CapInh:\t0000000000001000
CapPrm:\t0000000000000400
CapEff:\t0000000000000400
CapBnd:\t0000000000001400
CapAmb:\t0000000000000000
"""


def test_sets_are_read_by_name():
    sets = read_sets(STATUS)
    assert sets["CapInh"] == 1 << NET_ADMIN
    assert sets["CapBnd"] == 1 << NET_ADMIN | 1 << 10
    assert sets["CapAmb"] == 0


def test_for_root_nothing_changes_and_for_others_it_is_told():
    before = may_set_up_tunnels()
    hand_down()
    assert may_set_up_tunnels() == before
