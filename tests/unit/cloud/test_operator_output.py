"""What the operator's commands print, and where they keep secrets."""

import io
import json
import stat
import threading

import pytest
from operator_client import NotAllowed, Refused
from operator_output import CsvFile, JsonArray, as_json, card, moment, table, text_of
from operator_secrets import new_secret_file, read_token, tenant_of


def printed(act, *arguments) -> str:
    stream = io.StringIO()
    act(*arguments, stream)
    return stream.getvalue()


def test_columns_are_aligned_and_numbers_stand_right():
    rows = [{"name": "a", "bytes_in": 5}, {"name": "longer", "bytes_in": 12_000}, {"name": None}]
    assert printed(table, rows, ("name", "bytes_in")).splitlines() == [
        "NAME    BYTES IN",
        "a              5",
        "longer     12000",
        "-              -",
    ]


def test_a_column_without_values_or_with_text_stands_left():
    rows = [{"name": None, "version": "1"}, {"name": None, "version": "x"}]
    assert printed(table, rows, ("name", "version")).splitlines() == ["NAME  VERSION", "-     1", "-     x"]


def test_an_empty_table_is_its_head():
    assert printed(table, [], ("name", "id")) == "NAME  ID\n"


def test_what_others_named_does_not_reach_the_terminal_raw():
    out = printed(table, [{"name": "\x1b[2Jx\n\u202ey"}], ("name",)) + printed(card, {"n": "a\rb"})
    assert "\x1b" not in out
    assert "\r" not in out
    assert "\u202e" not in out
    assert len(out.splitlines()) == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ([], "-"),
        ({}, "-"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (["a", "b"], "a, b"),
        ({"gpu": True, "cores": 8}, "gpu=yes, cores=8"),
    ],
)
def test_values(value, text):
    assert text_of(value) == text


def test_moments():
    assert moment(1_795_521_600) == "2026-11-24T12:00:00Z"
    assert moment(None) is None


@pytest.mark.parametrize("entries", [[], [{"x": 1}], [{"x": "é"}, {"y": None}]])
def test_arrays_that_grow_are_json(entries):
    stream = io.StringIO()
    array = JsonArray(stream)
    for entry in entries:
        array.add(entry)
    array.close()
    assert json.loads(stream.getvalue()) == entries
    assert json.loads(printed(as_json, entries)) == entries
    assert stream.getvalue().isascii()


def test_csv_has_a_head_and_leaves_blank_what_is_not_there():
    stream = io.StringIO()
    file = CsvFile(stream, ("a", "b"))
    file.add({"b": 'x "y", z', "other": 1})
    file.close()
    assert stream.getvalue() == 'a,b\r\n,"x ""y"", z"\r\n'


@pytest.mark.parametrize(
    ("token", "tenant"),
    [("sf_acme.0123456789abcdef_x", "acme"), ("sf_0123456789abcdef_x", "root"), ("nonsense", "root")],
)
def test_a_token_says_whose_it_is(token, tenant):
    assert tenant_of(token) == tenant


def test_tokens_come_from_a_file_or_the_environment(tmp_path):
    (tmp_path / "token").write_text("sf_file\n")
    assert read_token(str(tmp_path / "token"), {"SINFONIA_TOKEN": "sf_environ"}) == "sf_file"
    assert read_token(None, {"SINFONIA_TOKEN": " sf_environ\n"}) == "sf_environ"


@pytest.mark.parametrize("content", ["", "\n", "two words", "sf_\x1b", "x" * 2000, "é"])
def test_what_is_no_token_is_not_sent(tmp_path, content):
    (tmp_path / "token").write_text(content)
    with pytest.raises(NotAllowed) as refused:
        read_token(str(tmp_path / "token"), {})
    assert content.strip() == "" or content.strip() not in str(refused.value)
    with pytest.raises(NotAllowed):
        read_token(None, {"SINFONIA_TOKEN": content})


def test_a_secret_is_kept_once_and_for_its_owner(tmp_path):
    path = tmp_path / "secret"
    with new_secret_file(str(path)) as keep:
        keep("hush")
    assert path.read_text() == "hush\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(Refused, match="already"), new_secret_file(str(path)):
        pass
    assert path.read_text() == "hush\n"


def test_a_secret_file_is_not_left_empty(tmp_path):
    path = tmp_path / "secret"
    with pytest.raises(ValueError, match="why"), new_secret_file(str(path)):
        raise ValueError("why")
    assert not path.exists()


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "secret").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused), new_secret_file(str(tmp_path / "secret")):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_of_two_at_once_one_gets_the_file(tmp_path):
    path, outcomes = str(tmp_path / "secret"), []
    gate = threading.Barrier(4)

    def make(number: int) -> None:
        gate.wait(5)
        try:
            with new_secret_file(path) as keep:
                keep(str(number))
            outcomes.append("kept")
        except Refused:
            outcomes.append("refused")

    threads = [threading.Thread(target=make, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert sorted(outcomes) == ["kept", "refused", "refused", "refused"]
