"""Which devices are there, as a real Prometheus has it from what a WireGuard exporter says."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

from tests.lab.machine import Machine, poll
from tests.lab.needs import needs
from tests.lab.prometheus import Prometheus
from tests.lab.world import PROJECT

ONE, TWO = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
ASK = """
import json, time
from base64 import b64encode
from edge_agent.sessions import make_session
from edge_agent.tunnels.peer_metrics import PeerMetrics
found = PeerMetrics("http://127.0.0.1:9090", make_session(time.monotonic), time.monotonic).activity()
known = ((b64encode(key).decode(), one) for key, one in found.items())
print(json.dumps({key: (one.handshake_at, one.received_bytes, one.sent_bytes) for key, one in known}))
"""


def metrics(**values: dict[tuple[str, str], int]) -> str:
    """The exporter's text: each metric's values by interface and key."""
    lines = []
    for name, samples in values.items():
        lines.append(f"# TYPE wireguard_{name} {'counter' if name.endswith('total') else 'gauge'}")
        for (interface, key), value in samples.items():
            labels = f'interface="{interface}",public_key="{key}",allowed_ips="100.71.0.9/32"'
            lines.append(f"wireguard_{name}{{{labels}}} {value}")
    return "\n".join(lines) + "\n"


@needs("root", "ip", "nsenter", "setpriv", "catatonit", "curl", "busybox-static", "prometheus")
def test_an_exporters_peers_are_known(tmp_path: Path) -> None:
    pages, rules = tmp_path / "pages", tmp_path / "rules.yaml"
    pages.mkdir()
    rules.write_text("groups: []\n")
    here, there = ("kilo0", ONE), ("kilo1", ONE)
    (pages / "metrics").write_text(
        metrics(
            latest_handshake_seconds={here: 1796000000, there: 1795000000, ("kilo0", TWO): 0},
            received_bytes_total={here: 148, there: 92, ("kilo0", TWO): 0},
            sent_bytes_total={here: 92, there: 8, ("kilo0", TWO): 0},
        )
    )
    with Machine("nodes") as machine:
        machine.popen(["busybox", "httpd", "-f", "-p", "127.0.0.1:9586", "-h", str(pages)])
        prometheus = Prometheus(machine, tmp_path, "127.0.0.1:9586", rules)
        assert poll(lambda: len(prometheus.query("wireguard_sent_bytes_total")) == 3, 60, 0.1)
        said = machine.run(sys.executable, "-c", ASK, env={"PYTHONPATH": str(PROJECT)}).stdout
    assert json.loads(said) == {ONE: [1796000000, 240, 100], TWO: [0, 0, 0]}
