"""The agent's Containerfile says the same as the image that tests make of this machine's files."""

from __future__ import annotations

import io
import re
import tarfile

from tests.lab import agent_image
from tests.lab.cluster import PROJECT

TEXT = (PROJECT / "infra" / "agent" / "Containerfile").read_text()


def test_user_and_command_are_the_same():
    config = agent_image._config("0" * 64)["config"]
    assert f"USER {config['User']}\n" in TEXT
    assert f"ENTRYPOINT {config['Entrypoint']}\n".replace("'", '"') in TEXT
    assert f"CMD {config['Cmd']}\n".replace("'", '"') in TEXT


def test_the_same_programs_carry_the_same_rights():
    (loop,) = re.findall(r"for program in ([^;]+); do", TEXT)
    carrying = {name for name, capabilities in agent_image._PROGRAMS.items() if capabilities}
    assert set(loop.split()) == carrying
    assert "setcap cap_net_admin+ep" in TEXT
    assert 'setcap cap_net_admin,cap_net_bind_service+ep "$(readlink -f /opt/sinfonia/bin/python)"' in TEXT


def test_base_images_are_named_by_arguments_alone():
    assert re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE) == ["${HELM}", "${PYTHON}", "${PYTHON}"]


def test_capabilities_are_written_as_the_kernel_reads_them(tmp_path):
    source = tmp_path / "program"
    source.write_bytes(b"x")
    file = io.BytesIO()
    layer = agent_image._Layer(file)
    layer.file(source, "usr/bin/program", 12)
    layer.close()
    file.seek(0)
    with tarfile.open(fileobj=file) as tar:
        info = tar.getmember("usr/bin/program")
    value = info.pax_headers["SCHILY.xattr.security.capability"].encode("latin-1")
    assert value == bytes.fromhex("0100000200100000000000000000000000000000")
