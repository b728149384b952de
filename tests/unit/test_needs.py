import pytest

from tests.lab.needs import may_skip, missing, needs, reason


def test_a_part_that_is_there_is_not_missing():
    assert missing("module:json") is None


def test_what_is_missing_is_named_for_a_person():
    assert missing("module:no_such_module") == "the Python module no_such_module"
    assert missing("kubernetes", {}) == "a Kubernetes cluster (SINFONIA_TEST_KUBECONFIG)"
    assert missing("kubernetes", {"SINFONIA_TEST_KUBECONFIG": "/tmp/config"}) is None
    assert reason(["wg", "podman"]) == "this machine lacks wg, podman"


def test_an_unknown_part_is_a_mistake_of_the_test():
    with pytest.raises(ValueError, match="unknown part"):
        missing("unicorn")


def test_a_test_skips_only_for_what_is_lacking_and_not_in_ci():
    assert may_skip(["the program wg"], {})
    assert not may_skip([], {})
    assert not may_skip(["the program wg"], {"CI": "true"})


def test_a_live_test_is_marked_as_such():
    @needs("module:json")
    def test():
        pass

    assert "live" in {mark.name for mark in test.pytestmark}
