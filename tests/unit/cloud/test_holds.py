"""How many deploys are held at once."""

from contextlib import ExitStack

from chalicelib.deploying.holds import Holds


def test_so_many_are_held_and_no_more():
    holds = Holds(2)
    with ExitStack() as stack:
        granted = [stack.enter_context(holds.granted(20.0)) for _ in range(3)]
        assert granted == [20.0, 20.0, 0.0]
    with holds.granted(5.0) as seconds:
        assert seconds == 5.0


def test_who_does_not_wait_takes_no_place():
    holds = Holds(1)
    with holds.granted(0.0) as first, holds.granted(3.0) as second:
        assert (first, second) == (0.0, 3.0)


def test_a_place_is_free_again_after_an_error():
    holds = Holds(1)
    for _ in range(3):
        try:
            with holds.granted(1.0) as seconds:
                assert seconds == 1.0
                raise LookupError
        except LookupError:
            continue
