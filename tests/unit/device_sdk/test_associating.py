"""When an association moves its app, when it does not, and what becomes of what it leaves: on a clock that
the tests wind, with cloudlets that do as told.
"""

from __future__ import annotations

import threading
from uuid import UUID

import pytest

from device_sdk.associating.events import Announcer
from device_sdk.associating.search import Wanted
from device_sdk.associating.surroundings import Surroundings
from device_sdk.associating.vitals import Patience, Vitals
from device_sdk.errors import NoCloudletError, RequestError, RootError
from tests.fakes.device_sdk_places import Lab

MOVED = ["handing_over", "handed_over"]
AWAY = RootError("The root can't be reached.")


def alone(lab: Lab) -> bool:
    """Whether nothing is left but the app's own way."""
    return lab.ways.up == [lab.ways.leading]


def test_while_all_is_well_nothing_happens_and_the_root_is_not_asked() -> None:
    lab = Lab()
    lab.run(600)
    assert (lab.events, lab.asked, lab.looked, lab.keeper.state) == ([], [], 0, "connected")
    assert 400 < lab.cloudlets[0].looks < 620


def test_the_apps_own_traffic_saves_probes() -> None:
    lab = Lab()
    lab.cloudlets[0].arriving = 1000
    lab.run(100)
    assert 15 < lab.cloudlets[0].looks < 25


def test_a_dead_cloudlet_is_left_within_seconds() -> None:
    lab = Lab()
    lab.run(10)
    died, lab.cloudlets[0].answers = lab.now, False
    lab.run(10, "handed_over")
    assert lab.kinds == ["lost", *MOVED]
    assert lab.now - died < 3.0
    assert [event.cloudlet for event in lab.events] == ["c1", "c2", "c2"]
    assert lab.keeper.place.name == "c2"
    assert lab.keeper.state == "connected"
    assert lab.asked == [(lab.cloudlets[0].uuid,)]
    lab.run(10)
    assert lab.settled(lambda: alone(lab))
    assert lab.cloudlets[0].released == 1


def test_one_that_dies_amid_traffic_is_left_as_soon() -> None:
    lab = Lab()
    lab.cloudlets[0].arriving = 1000
    lab.run(10)
    died, lab.cloudlets[0].answers = lab.now, False
    lab.run(10, "handed_over")
    assert lab.now - died < 3.0


def test_a_moment_of_silence_moves_nobody_and_what_was_brought_up_for_it_is_given_back() -> None:
    lab = Lab()
    lab.run(10)
    for _ in range(5):
        lab.cloudlets[0].losses = 1
        lab.run(5)
    assert lab.events == []
    assert lab.asked
    assert lab.settled(lambda: alone(lab))
    assert lab.cloudlets[1].released == len(lab.asked)


def test_an_agent_that_restarts_is_waited_for_while_the_app_is_served() -> None:
    lab = Lab()
    lab.cloudlets[0].arriving = 1000
    lab.run(10)
    lab.cloudlets[0].serves = False
    lab.run(6)
    assert lab.events == []
    lab.cloudlets[0].serves = True
    lab.run(20)
    assert lab.events == []
    lab.cloudlets[0].serves = False
    lab.run(40, "handed_over")
    assert lab.kinds == ["lost", *MOVED]


@pytest.mark.parametrize("how", ["gone", "failed"])
def test_a_backend_that_is_no_more_is_replaced_at_once(how: str) -> None:
    lab = Lab()
    lab.run(5)
    if how == "gone":
        lab.cloudlets[0].failure = "The cloudlet no longer has the backend."
    else:
        lab.cloudlets[0].status = "Failed"
    lab.run(3, "handed_over")
    assert lab.kinds == ["lost", *MOVED]


def test_draining_moves_the_app_and_leaves_time_for_requests_under_way() -> None:
    lab = Lab(linger=3.0)
    lab.run(5)
    lab.cloudlets[0].draining = True
    lab.run(5, "handed_over")
    assert lab.kinds == ["draining", *MOVED]
    assert len(lab.ways.up) == 2
    assert lab.cloudlets[0].released == 0
    lab.run(4)
    assert lab.settled(lambda: alone(lab) and lab.cloudlets[0].released == 1)


def test_where_there_is_no_other_the_app_stays_and_the_root_is_asked_ever_more_rarely() -> None:
    lab = Lab(count=1)
    lab.run(5)
    lab.cloudlets[0].draining = True
    lab.run(600)
    assert lab.kinds == ["draining"]
    assert lab.keeper.state == "draining"
    assert len(lab.asked) < 2 * 30
    lab.cloudlets[0].draining = False
    lab.run(5)
    assert lab.kinds == ["draining", "recovered"]
    assert alone(lab)


def test_cloudlets_that_all_say_that_they_drain_are_gone_round_ever_more_rarely() -> None:
    lab = Lab(count=2)
    for cloudlet in lab.cloudlets:
        cloudlet.draining = True
    lab.run(600)
    assert lab.kinds.count("handed_over") < 30
    assert lab.kinds[-1] in ("draining", "handed_over")
    for cloudlet in lab.cloudlets:
        cloudlet.draining = False
    lab.run(60)
    assert lab.settled(lambda: alone(lab))


def test_one_that_was_left_is_gone_back_to_rather_than_nowhere() -> None:
    lab = Lab(count=2)
    lab.cloudlets[0].answers = False
    lab.run(10, "handed_over")
    lab.cloudlets[0].answers, lab.cloudlets[1].answers = True, False
    lab.run(10)
    assert lab.keeper.place.name == "c1"
    assert lab.kinds == ["lost", *MOVED] * 2


def test_a_root_that_is_away_for_hours_breaks_nothing() -> None:
    lab = Lab(rediscover_after=600)
    lab.away = AWAY
    lab.run(2 * 3600)
    assert (lab.events, lab.keeper.state) == ([], "connected")
    assert 5 < lab.looked < 15


def test_lost_while_the_root_is_away_is_mended_when_either_is_back() -> None:
    lab = Lab()
    lab.away = AWAY
    lab.cloudlets[0].answers = False
    lab.run(120)
    assert lab.kinds == ["lost"]
    assert len(lab.asked) < 12
    lab.away = None
    lab.run(40, "handed_over")
    assert lab.kinds == ["lost", *MOVED]

    lab = Lab()
    lab.away = AWAY
    lab.cloudlets[0].answers = False
    lab.run(120)
    lab.cloudlets[0].answers = True
    lab.run(3)
    assert lab.kinds == ["lost", "recovered"]


def test_one_that_does_not_get_ready_is_replaced_and_given_back() -> None:
    lab = Lab(count=3)
    lab.cloudlets[0].draining = True
    lab.cloudlets[1].failure = "the image can't be pulled"
    lab.run(5, "handed_over")
    assert lab.keeper.place.name == "c3"
    lab.run(10)
    assert lab.settled(lambda: alone(lab))
    assert lab.cloudlets[1].released == 1


def test_slowness_moves_only_when_it_lasts_and_only_to_what_is_better() -> None:
    lab = Lab(count=2, stay=10.0)
    lab.run(20)
    lab.cloudlets[0].seconds = lab.cloudlets[1].seconds = 0.1
    lab.run(3)
    assert lab.events == []
    lab.run(10)
    assert lab.kinds == ["degraded"]
    lab.run(20)
    assert lab.settled(lambda: alone(lab))
    assert lab.cloudlets[1].released == 1
    lab.cloudlets[1].seconds = 0.05
    lab.run(100, "handed_over")
    assert lab.kinds == ["degraded", *MOVED]


def test_a_way_that_has_become_slow_gets_the_time_that_it_takes_now() -> None:
    vitals = Vitals(Patience(), 0.0)
    told = []
    for seconds in (0.01, 0.3, 2.0):
        vitals.answered(1.0, seconds)
        told.append(vitals.probe_seconds(1.0))
    assert told == [0.4, pytest.approx(1.2), 3.0]
    vitals.moved(2.0)
    assert vitals.probe_seconds(2.0) == 0.4


def test_round_trips_that_jump_about_make_nobody_flap() -> None:
    lab = Lab()
    for step in range(2000):
        lab.cloudlets[0].seconds = 0.08 if step % 4 else 0.01
        lab.run(1)
    assert lab.events == []


def test_a_new_place_is_stayed_at_for_a_while() -> None:
    lab = Lab(stay=30.0)
    lab.run(5)
    lab.cloudlets[0].draining = True
    lab.run(5, "handed_over")
    lab.cloudlets[0].draining = False
    lab.run(3)
    lab.cloudlets[1].seconds = 0.2
    lab.run(20)
    assert lab.kinds[3:] == []


def test_what_is_prepared_is_gone_to_when_the_app_says_so() -> None:
    lab = Lab(count=3)
    assert lab.keeper.prepare(lab.search.elsewhere).name == "c2"
    lab.run(30)
    assert lab.events == []
    assert lab.keeper.switch().name == "c2"
    assert lab.kinds == MOVED
    with pytest.raises(RequestError, match="prepare"):
        lab.keeper.switch()
    lab.run(10)
    assert lab.settled(lambda: alone(lab))


def test_one_is_prepared_at_a_time_on_a_chosen_cloudlet_or_none() -> None:
    lab = Lab(count=3)
    lab.keeper.prepare(lab.search.elsewhere)
    third = lab.cloudlets[2].uuid
    assert lab.keeper.prepare(lambda here, known: lab.search.at(third, here, known)).name == "c3"
    assert lab.settled(lambda: lab.cloudlets[1].released == 1 and len(lab.ways.up) == 2)
    lab.order = lab.cloudlets[:1]
    with pytest.raises(NoCloudletError):
        lab.keeper.prepare(lab.search.elsewhere)


def at(lab: Lab, number: int):
    return lab.keeper.prepare(lambda here, known: lab.search.at(UUID(int=number), here, known))


def test_a_named_cloudlet_is_prepared_though_the_root_would_name_others_first() -> None:
    lab = Lab(count=9)
    assert at(lab, 9).name == "c9"
    assert lab.wanted == [Wanted((UUID(int=1),), cloudlet=UUID(int=9))]


def test_why_a_named_cloudlet_can_not_be_had_is_told() -> None:
    lab = Lab(count=3)
    with pytest.raises(NoCloudletError, match="the root does not know it, or it does not take this device"):
        at(lab, 99)
    with pytest.raises(NoCloudletError, match=r"The app is on the cloudlet .* already"):
        at(lab, 1)
    lab.deaf = True
    with pytest.raises(NoCloudletError, match="this root chooses by itself"):
        at(lab, 3)
    assert lab.settled(lambda: lab.cloudlets[1].released == 1 and alone(lab))


@pytest.mark.parametrize("why", ["draining", "degraded", "prepared", "rediscover"])
def test_moves_that_have_time_are_chosen_as_the_first_place_was(why: str) -> None:
    lab = Lab(count=4, results=3, stay=5.0, rediscover_after=600)
    for cloudlet, seconds in zip(lab.cloudlets, (0.01, 0.004, 0.003, 0.005), strict=True):
        cloudlet.seconds = seconds
    lab.run(8)
    if why == "prepared":
        lab.keeper.prepare(lab.search.elsewhere)
        lab.keeper.switch()
    elif why == "draining":
        lab.cloudlets[0].draining = True
    elif why == "degraded":
        lab.cloudlets[0].seconds = 0.1
    else:
        lab.order = lab.cloudlets[1:]
        lab.keeper.changed()
    lab.run(20, "handed_over")
    assert lab.keeper.place.name == "c3"
    assert lab.chose == [["c2", "c3", "c4"]]
    lab.run(10)
    assert lab.settled(lambda: alone(lab))
    assert [each.released for each in lab.cloudlets] == [1, 1, 0, 1]


def test_after_a_loss_the_first_that_answers_is_taken() -> None:
    lab = Lab(count=4, results=3)
    lab.cloudlets[2].seconds = 0.001
    lab.run(5)
    lab.cloudlets[0].answers = lab.cloudlets[1].answers = False
    died = lab.now
    lab.run(30, "handed_over")
    assert lab.keeper.place.name == "c3"
    assert lab.now - died < 8  # three seconds of them for a gateway that does not answer
    assert lab.chose == []
    assert {each.results for each in lab.wanted} == {1}


def test_what_is_prepared_takes_part_in_choosing_and_stays_where_it_is_the_best() -> None:
    lab = Lab(count=4, results=3)
    lab.cloudlets[2].seconds = 0.001
    prepared = lab.keeper.prepare(lab.search.elsewhere)
    assert lab.keeper.prepare(lab.search.elsewhere) is prepared
    assert len(lab.ways.up) == 2
    lab.cloudlets[3].seconds = 0.0005
    assert lab.keeper.prepare(lab.search.elsewhere).name == "c4"
    assert lab.settled(lambda: len(lab.ways.up) == 2)


def test_what_is_being_left_is_not_chosen_and_its_requests_are_not_cut_off() -> None:
    lab = Lab(count=4, results=3)
    lab.keeper.prepare(lab.search.elsewhere)
    lab.keeper.switch()
    lab.order = [lab.cloudlets[0], lab.cloudlets[2], lab.cloudlets[3]]
    lab.keeper.prepare(lab.search.elsewhere)
    assert lab.chose[-1] == ["c3", "c4"]
    assert lab.cloudlets[0].released == 0
    lab.run(10)
    assert lab.settled(lambda: lab.cloudlets[0].released == 1)


def test_the_root_hears_where_the_app_is_once_that_is_the_only_place() -> None:
    lab = Lab(count=4, results=3, linger=3.0)
    lab.run(5)
    lab.keeper.prepare(lab.search.elsewhere)
    lab.run(20)
    assert lab.kept == []  # what is prepared would be gone
    lab.keeper.switch()
    lab.run(2)
    assert lab.kept == []
    lab.run(5)
    assert lab.kept == [UUID(int=2)]
    lab.run(100)
    assert lab.kept == [UUID(int=2)]
    lab.keeper.prepare(lab.search.elsewhere)
    lab.keeper.close()
    assert lab.kept == [UUID(int=2)] * 2


def test_where_none_of_several_can_be_used_the_app_stays_and_others_are_asked() -> None:
    lab = Lab(count=5, results=2)
    lab.cloudlets[1].failure = lab.cloudlets[2].failure = "no such image"
    assert lab.keeper.prepare(lab.search.elsewhere).name == "c4"
    assert lab.chose == [["c2", "c3"], ["c4", "c5"]]


def test_what_is_prepared_is_gone_to_first_when_all_else_is_lost() -> None:
    lab = Lab(count=3)
    lab.keeper.prepare(lab.search.elsewhere)
    lab.away = AWAY
    lab.cloudlets[0].answers = False
    lab.run(5, "handed_over")
    assert lab.keeper.place.name == "c2"


def test_what_is_prepared_and_dead_itself_is_not_gone_to() -> None:
    lab = Lab(count=3)
    lab.keeper.prepare(lab.search.elsewhere)
    lab.cloudlets[0].answers = lab.cloudlets[1].answers = False
    lab.run(10, "handed_over")
    assert lab.keeper.place.name == "c3"
    lab.run(10)
    assert lab.settled(lambda: alone(lab))


def test_going_back_at_once_takes_the_way_that_still_stands() -> None:
    lab = Lab()
    first = lab.ways.leading
    for _ in range(2):
        lab.keeper.prepare(lab.search.elsewhere)
        lab.keeper.switch()
    assert lab.ways.leading is first
    lab.run(10)
    assert lab.settled(lambda: alone(lab))
    assert (lab.cloudlets[0].released, lab.cloudlets[1].released) == (0, 1)


def test_a_backend_that_the_same_gateway_has_anew_gets_its_way_renewed() -> None:
    lab = Lab(count=1)
    lab.run(5)
    lab.cloudlets[0].answers = False
    lab.run(5)
    lab.cloudlets[0].block, lab.cloudlets[0].answers = 2, True
    lab.cloudlets[0].failure = None
    made = lab.search.elsewhere(lab.keeper.place, lab.keeper)
    assert made is not None
    assert made.target.plan.addresses != lab.keeper.place.target.plan.addresses
    assert lab.ways.up == [lab.ways.leading]


def test_the_end_gives_back_all_but_the_apps_own() -> None:
    lab = Lab(count=3)
    lab.keeper.prepare(lab.search.elsewhere)
    lab.keeper.switch()
    third = lab.cloudlets[2].uuid
    lab.keeper.prepare(lambda here, known: lab.search.at(third, here, known))
    lab.keeper.close()
    assert [each.released for each in lab.cloudlets] == [1, 0, 1]
    assert alone(lab)
    assert lab.keeper.state == "released"
    with pytest.raises(RequestError):
        lab.keeper.prepare(lab.search.elsewhere)


def test_a_device_that_slept_does_not_take_that_for_silence() -> None:
    lab = Lab()
    lab.run(10)
    lab.now += 8 * 3600
    lab.run(5)
    assert (lab.events, lab.asked) == ([], [])


def test_a_change_of_the_network_lets_it_look_around_and_move_if_that_is_better() -> None:
    lab = Lab(rediscover_after=3600)
    lab.order = [lab.cloudlets[1], lab.cloudlets[0]]
    lab.run(10)
    lab.cloudlets[1].seconds = 0.001
    lab.keeper.changed()
    lab.run(10, "handed_over")
    assert lab.kinds == MOVED
    assert lab.keeper.place.name == "c2"


def test_rediscovery_that_finds_nothing_better_is_not_repeated_for_the_same_cloudlet() -> None:
    lab = Lab(rediscover_after=600)
    lab.order = [lab.cloudlets[1], lab.cloudlets[0]]
    lab.run(2 * 3600)
    assert lab.events == []
    assert lab.looked > 5
    assert len(lab.asked) == 1
    assert lab.settled(lambda: alone(lab))


def test_events_reach_everybody_and_a_callback_that_raises_harms_nobody() -> None:
    def fail(_event: object) -> None:
        raise ValueError("the app's own mistake")

    announcer = Announcer(fail, lambda: 1.5)
    heard = announcer.listen()
    announcer.say("lost", "c1", "it does not answer")
    announcer.end()
    assert [event.to_json() for event in heard] == [
        {"kind": "lost", "cloudlet": "c1", "reason": "it does not answer", "at": 1.5}
    ]
    assert list(announcer.listen()) == []


def test_waiting_ends_when_it_is_woken() -> None:
    surroundings = Surroundings()
    try:
        threading.Timer(0.05, surroundings.wake).start()
        assert surroundings.wait(30) in (False, True)
        assert surroundings.wait(0.0) in (False, True)
    finally:
        surroundings.close()
