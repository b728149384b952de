import pytest

from device_sdk.cli.tables import columns, layout

HEADS = ("CLOUDLET", "ADDRESS", "")
ROWS = [
    ("pittsburgh-1", "http://192.0.2.7:7070/api/v1/deploy", "local network"),
    ("東京", "through its root", ""),
]
WORDS = {word for row in ROWS for cell in row for word in cell.split()}


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 500])
def test_a_table_fits_the_terminal_and_loses_nothing(width: int) -> None:
    shown = layout(HEADS, ROWS, width)
    assert max(map(columns, shown.splitlines())) <= max(width, 4 + max(map(columns, WORDS)))
    assert width == 20 or set(shown.split()) >= WORDS
    assert all(line == line.rstrip() for line in shown.splitlines())


def test_columns_stand_below_each_other_whatever_the_script() -> None:
    head, first, second = layout(HEADS, ROWS, 120).splitlines()
    at = {
        columns(line[: line.index(word)]) for line, word in ((head, "ADDR"), (first, "http"), (second, "thr"))
    }
    assert len(at) == 1


def test_other_programs_get_a_row_a_line_without_a_head() -> None:
    assert (
        layout(HEADS, ROWS, None).splitlines()[0]
        == "pittsburgh-1  http://192.0.2.7:7070/api/v1/deploy  local network"
    )
    assert len(layout(HEADS, ROWS * 3, None).splitlines()) == 6
    assert layout(HEADS, [], None) == ""


def test_a_long_last_column_is_wrapped_below_itself() -> None:
    first, second, *_ = layout(("A", "B"), [("name", "word " * 30)], 40).splitlines()[1:]
    assert first.startswith("name  word")
    assert second.startswith("      word")
