"""Charts' archives: what is unpacked, and with which words everything else is refused."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import RecipeUnusable, Unavailable
from edge_agent.recipes.archives import check_schemas, digest_of, unpack

CHART = {"web/Chart.yaml": b"apiVersion: v2\nname: web\nversion: 0.1.0\n"}


def archive(files: dict[str, bytes] | None = None, *more: tarfile.TarInfo) -> bytes:
    """A chart's archive: its files, and members of other kinds."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for name, data in (CHART if files is None else files).items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for member in more:
            tar.addfile(member)
    return packed.getvalue()


def link(kind: bytes, name: str = "web/values.yaml", target: str = "/etc/passwd") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def unpacked(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "chart.tgz"
    path.write_bytes(data)
    return unpack(path, tmp_path / "out")


def refused(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(RecipeUnusable) as caught:
        unpacked(tmp_path, data)
    return str(caught.value)


def test_a_chart_with_a_chart_within(tmp_path: Path) -> None:
    inner = archive({"db/Chart.yaml": b"name: db", "db/templates/a.yaml": b"a: 1"})
    files = {**CHART, "web/charts/db-1.tgz": inner, "web/.helmignore": b"*", "web/templates/b.yaml": b"b"}
    chart = unpacked(tmp_path, archive(files))
    found = {str(path.relative_to(chart)) for path in chart.rglob("*") if path.is_file()}
    assert found == {"Chart.yaml", "templates/b.yaml", "charts/db/Chart.yaml", "charts/db/templates/a.yaml"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (archive({**CHART, "web/../../evil": b"x"}), "leads out of it"),
        (archive({**CHART, "/etc/evil": b"x"}), "leads out of it"),
        (archive({**CHART, "web\\..\\evil": b"x"}), "leads out of it"),
        (archive({**CHART, "web/\x1b[2J": b"x"}), "leads out of it"),
        (archive({**CHART, "web/" + "a/" * 200 + "b": b"x"}), "leads out of it"),
        (archive(CHART, link(tarfile.SYMTYPE)), "link or device"),
        (archive(CHART, link(tarfile.LNKTYPE)), "link or device"),
        (archive(CHART, link(tarfile.CHRTYPE)), "link or device"),
        (archive(CHART, link(tarfile.FIFOTYPE)), "link or device"),
        (archive(CHART, link(tarfile.GNUTYPE_SPARSE)), "link or device"),
        (archive({**CHART, "other/Chart.yaml": b"x"}), "must hold one folder"),
        (archive({"Chart.yaml": b"x"}), "outside of the chart's folder"),
        (archive({}), "must hold one folder"),
        (archive({**CHART, "web/crds/all.yaml": b"kind: CustomResourceDefinition"}), "of the whole cluster"),
        (archive({**CHART, "web/charts/db/crds/all.yaml": b"x"}), "of the whole cluster"),
        (archive({**CHART, "web/charts/db.tgz": archive({"db/crds/a.yaml": b"x"})}), "of the whole cluster"),
        (archive({**CHART, "web/charts/db.tgz": archive({"../../x": b"x"})}), "leads out of it"),
        (archive({**CHART, **{f"web/f{n}": b"" for n in range(2001)}}), "more than 2000 files"),
        (archive({**CHART, "web/bomb": bytes(33 << 20)}), "unpacks to more"),
        (gzip.compress(bytes(64 << 20)), "can't be unpacked|must hold one folder"),
        (b"", "can't be unpacked"),
        (b"no archive", "can't be unpacked"),
        (archive()[:40], "can't be unpacked"),
        (gzip.compress(b"x" * 1000), "can't be unpacked"),
        (bytes((8 << 20) + 1), "larger than"),
    ],
)
def test_hostile_archives(tmp_path: Path, data: bytes, words: str) -> None:

    assert re.search(words, refused(tmp_path, data))
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert all(name == "chart.tgz" or name.startswith("out/") for name in left)


def test_charts_within_charts_within_charts(tmp_path: Path) -> None:
    inner = archive()
    for _ in range(6):
        inner = archive({**CHART, "web/charts/web.tgz": inner})
    assert "deep" in refused(tmp_path, inner)


def test_a_small_bomb_within_many_charts_counts_as_a_whole(tmp_path: Path) -> None:
    inner = archive({"db/a": bytes(9 << 20)})
    files = {f"web/charts/db{n}.tgz": inner for n in range(4)}
    assert "unpacks to more" in refused(tmp_path, archive({**CHART, **files}))


@given(data=st.binary(max_size=200), at=st.integers(0, 400))
def test_damaged_archives_are_refused_with_a_reason(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int
) -> None:
    good = archive()
    folder = tmp_path_factory.mktemp("damaged")
    damaged = good[: at % len(good)] + data + good[(at % len(good)) + len(data) :]
    try:
        unpacked(folder, damaged)
    except RecipeUnusable as error:
        assert "chart" in str(error)  # noqa: PT017 - damage may also do no harm


def test_an_archive_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        unpack(tmp_path / "none.tgz", tmp_path / "out")


def test_digests_are_of_archives(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(b"a")
    assert digest_of(tmp_path / "a.tgz").startswith("sha256:ca978112")
    with pytest.raises(RecipeUnusable, match="must be an archive"):
        digest_of(tmp_path)


@pytest.mark.parametrize(
    ("schema", "good"),
    [
        ({"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"a": {"$ref": "#/x"}}}, True),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema"}, True),
        ({"properties": {"$ref": {"type": "string"}}}, True),
        ({"properties": {"a": {"$ref": "http://127.0.0.1/x"}}}, False),
        ({"allOf": [{"$ref": "file:///etc/passwd"}]}, False),
        ({"$ref": "other.json"}, False),
        ({"$schema": "http://169.254.169.254/latest"}, False),
        ({"$dynamicRef": "https://x.example/"}, False),
    ],
)
def test_schemas_refer_to_nothing_outside(tmp_path: Path, schema: dict[str, object], good: bool) -> None:
    (tmp_path / "charts" / "db").mkdir(parents=True)
    (tmp_path / "charts" / "db" / "values.schema.json").write_text(json.dumps(schema))
    if good:
        check_schemas(tmp_path)
        return
    with pytest.raises(RecipeUnusable, match="must be complete"):
        check_schemas(tmp_path)


def test_a_schema_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "values.schema.json").write_text("[" * 100_000)
    with pytest.raises(RecipeUnusable, match="can't be read"):
        check_schemas(tmp_path)
