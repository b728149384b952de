"""The command line and what it is checked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_agent.__main__ import main
from edge_agent.arguments import make_parser
from edge_agent.deployments.requirements import Hardware
from edge_agent.errors import SettingsError
from edge_agent.machine import addresses_of_links, own_address, own_addresses
from edge_agent.option_values import Address
from edge_agent.settings import Settings
from edge_agent.tunnels.firewall import Pace

LEAST = ["run", "--runtime", "podman", "--recipes", "r", "--root", "http://root.example"]


def settings(
    *options: str,
    own: str | None = "198.51.100.9",
    own6: str | None = None,
    least: list[str] = LEAST,
    env: Any = None,
) -> Settings:
    arguments = make_parser().parse_args([*least, *options])
    return Settings.from_arguments(arguments, lambda: own, env or {}, lambda: own6)


def test_the_least() -> None:
    found = settings()
    assert found.serving.listen == (Address("127.0.0.1", 7070),)
    assert found.serving.advertise_url == "http://127.0.0.1:7070/api/v1/deploy"
    assert (found.gateway.endpoint.host, found.gateway.endpoint.port) == ("198.51.100.9", 51820)
    assert found.leases.remove_on_exit
    assert not found.nearby.announce


def test_an_address_of_the_network_is_used_for_everything() -> None:
    found = settings("--listen", "192.0.2.7", "--announce")
    assert found.serving.advertise_url == "http://192.0.2.7:7070/api/v1/deploy"
    assert found.gateway.endpoint.host == "192.0.2.7"
    assert found.nearby.addresses == ("192.0.2.7",)


def test_all_addresses_are_advertised_as_this_machines_own() -> None:
    found = settings("--listen", "0.0.0.0:80", "--announce")
    assert found.serving.advertise_url == "http://198.51.100.9:80/api/v1/deploy"
    assert found.nearby.addresses == ("198.51.100.9",)


def test_the_api_may_listen_at_several_addresses() -> None:
    found = settings("--listen", "[2001:DB8::7]:80", "--listen", "127.0.0.1:80", "--listen", "192.0.2.7:80")
    assert [one.host for one in found.serving.listen] == ["192.0.2.7", "2001:db8::7", "127.0.0.1"]
    assert found.serving.advertise_url == "http://192.0.2.7:80/api/v1/deploy"
    assert found.gateway.endpoint.told == "192.0.2.7:51820"
    assert found.serving.serves("2001:db8::7")
    assert not found.serving.serves("2001:db8::8")
    everywhere = settings("--listen", "0.0.0.0", "--listen", "[::]", "--announce")
    assert everywhere.serving.serves("fe80::1%eth0")
    assert everywhere.nearby.addresses == everywhere.nearby.interfaces_of == ("198.51.100.9",)
    assert settings("--listen", "[::]", "--announce-address", "192.0.2.8").nearby.interfaces_of == ()
    assert not settings("--listen", "0.0.0.0").serving.serves("2001:db8::7")


def test_where_there_is_only_ipv6_the_gateway_is_told_so() -> None:
    link = ["--listen", "[fe80::7%eth0]", "--announce"]
    found = settings(*link, own=None)
    assert found.nearby.addresses == ("fe80::7%eth0",)
    assert found.serving.advertise_url == "http://[fe80::7]:7070/api/v1/deploy"
    assert found.gateway.endpoint.told == "[fe80::7]:51820"
    assert settings(*link).gateway.endpoint.told == "198.51.100.9:51820", "the published client needs IPv4"
    anywhere = settings("--listen", "[::]", "--announce", own=None, own6="fe80::9%eth1")
    assert anywhere.nearby.interfaces_of == ("fe80::9%eth1",)
    with pytest.raises(SettingsError, match="--wireguard-endpoint"):
        settings("--listen", "0.0.0.0", "--listen", "[::]", own=None, own6="2001:db8::9")


def test_no_root_is_needed_to_be_found_nearby() -> None:
    least = ["run", "--runtime", "kubernetes", "--recipes", "r", "--listen", "192.0.2.7"]
    assert settings("--announce", least=least).roots.urls == ()
    assert settings("--announce-address", "192.0.2.8", least=least).nearby.announce
    assert not settings("--announce", least=least).leases.remove_on_exit
    with pytest.raises(SettingsError, match="nobody would find"):
        settings(least=least)


def test_podman_options() -> None:
    assert settings("--podman-root", "/a", "--podman-network-dir", "/b").podman_options == (
        *("--root", "/a"),
        *("--network-config-dir", "/b"),
    )


def test_the_gateways_options() -> None:
    assert settings().gateway.endpoint6 is None
    assert (settings().gateway.mtu, settings().gateway.pace) == (1420, Pace())
    found = settings("--wireguard-endpoint6", "[2001:DB8::7]", "--tunnel-mtu", "1380", "--device-rate", "500")
    assert found.gateway.endpoint6 == "[2001:db8::7]:51820"
    assert (found.gateway.mtu, found.gateway.pace.packets) == (1380, 500)
    assert settings("--wireguard-endpoint6", "[2001:db8::7]:7").gateway.endpoint6 == "[2001:db8::7]:7"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--listen", "host.example"], "--listen host.example"),
        (["--listen", "192.0.2.7:99999"], "--listen"),
        (["--listen", "[2001:db8::7"], "--listen"),
        (["--listen", "[192.0.2.7]:80"], "--listen"),
        (["--listen", "[2001:db8::7]:0"], "ports"),
        (["--listen", "[2001:db8::7]:x"], "ports"),
        (["--listen", "192.0.2.7:7:7"], "--listen"),
        (["--listen", "fe80::1"], "names its interface"),
        (["--listen", "[fe80::1%]"], "--listen"),
        (["--listen", "[fe80::1%et/h0]"], "--listen"),
        (["--listen", "[fe80::1%a long name]"], "names its interface"),
        (["--listen", "[2001:db8::7%eth0]"], "names its interface"),
        (["--listen", "[ff02::fb]"], "--listen"),
        (["--listen", "192.0.2.7:80", "--listen", "[2001:db8::7]:81"], "same port"),
        ([f"--listen=192.0.2.{number}" for number in range(17)], "at most 16"),
        (["--listen", "[::1]", "--announce"], "loopback"),
        (["--wireguard-endpoint", "vpn.example:51820"], "--wireguard-endpoint"),
        (["--wireguard-port", "0"], "--wireguard-port"),
        (["--wireguard-endpoint6", "2001:db8::7"], "--wireguard-endpoint6"),
        (["--wireguard-endpoint6", "[192.0.2.7]:1"], "--wireguard-endpoint6"),
        (["--wireguard-endpoint6", "[fe80::1%eth0]:1"], "--wireguard-endpoint6"),
        (["--wireguard-endpoint6", "[2001:db8::7]51820"], "--wireguard-endpoint6"),
        (["--wireguard-endpoint6", "[2001:db8::7]:x"], "--wireguard-endpoint6"),
        (["--wireguard-endpoint6", "[2001:db8::7]:70000"], "--wireguard-endpoint6"),
        (["--tunnel-mtu", "1279"], "--tunnel-mtu"),
        (["--tunnel-mtu", "1500"], "--tunnel-mtu"),
        (["--device-rate", "0"], "--device-rate"),
        (["--device-rate", "10000000"], "--device-rate"),
        (["--root", "root.example"], "--root"),
        (["--root", "ftp://root.example"], "--root"),
        (["--root", "http://root.example:x"], "--root"),
        (["--root", "http://a b"], "--root"),
        (["--advertise-url", "x"], "--advertise-url"),
        (["--prometheus", "x"], "--prometheus"),
        (["--location", "91,0"], "--location"),
        (["--location", "nowhere"], "--location"),
        (["--tunnel-network", "100.71.0.1/16"], "--tunnel-network"),
        (["--tunnel-network", "fd00::/64"], "--tunnel-network"),
        (["--accept", "everybody"], "--accept"),
        (["--reject", "192.0.2.0/33"], "--reject"),
        (["--local-network", "x"], "--local-network"),
        (["--accept", "192.0.2.0/24"] * 17, "--accept"),
        (["--idle-seconds", "0"], "--idle-seconds"),
        (["--idle-seconds", "4"], "--idle-seconds 4: backends in use would rest too"),
        (["--idle-seconds", "0.5", "--trial"], "--idle-seconds"),
        (["--idle-seconds", "nan"], "--idle-seconds"),
        (["--rest-seconds", "-1"], "--rest-seconds"),
        (["--rest-seconds", "nan"], "--rest-seconds"),
        (["--max-age", "1"], "--max-age"),
        (["--max-deployments", "0"], "--max-deployments"),
        (["--interval-seconds", "inf"], "--interval-seconds"),
        (["--name", ""], "--name"),
        (["--name", "x" * 129], "--name"),
        (["--name", "a\tb"], "--name"),
        (["--name", "a\nb"], "--name"),
        (["--announce"], "--announce"),
        (["--announce-address", "x"], "--announce-address"),
        (["--tenant", "Acme"], "--tenant"),
        (["--tenant", "a"], "--tenant"),
        (["--jurisdiction", "us"], "--jurisdiction"),
        (["--jurisdiction", "US-PENN"], "--jurisdiction"),
        (["--price", "-1"], "--price"),
        (["--price", "nan"], "--price"),
        (["--cores", "0"], "--cores"),
        (["--memory", "16"], "--memory"),
        (["--memory", "0G"], "--memory"),
        (["--memory", "2000T"], "--memory"),
        (["--gpu", ""], "--gpu"),
        (["--gpu", "x" * 65], "--gpu"),
        (["--invitation", "a b"], "the invitation"),
        (["--invitation", "a", "--invitation-file", "b"], "--invitation"),
        (["--invitation-file", "/no/such/file"], "--invitation-file"),
        (["--only-from-roots", "--announce", "--listen", "192.0.2.7"], "--only-from-roots"),
    ],
)
def test_wrong_options_are_named(options: list[str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        settings(*options)


def test_what_roots_choose_and_admit_by(tmp_path: Path) -> None:
    file = tmp_path / "code"
    file.write_text("inv_1.secret\n")
    options = ["--tenant", "acme-2", "--jurisdiction", "US-PA", "--price", "0.12", "--gpu", "NVIDIA L4"]
    found = settings(*options, "--cores", "8", "--memory", "16G", "--invitation-file", str(file))
    offer = found.site.offer
    assert (found.roots.tenant, offer.jurisdiction, offer.price) == ("acme-2", "US-PA", 0.12)
    assert offer.hardware == Hardware(8, 16 << 30, "NVIDIA L4")
    assert found.roots.invitation == "inv_1.secret"
    assert "secret" not in repr(found)
    assert settings(env={"SINFONIA_INVITATION": "inv_2.x"}).roots.invitation == "inv_2.x"
    assert settings("--memory", "512MiB").site.offer.hardware.memory_bytes == 512 << 20


def test_an_invitation_that_is_wrong_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "code"
    file.write_text("se cret")
    with pytest.raises(SettingsError) as refused:
        settings("--invitation-file", str(file))
    assert "cret" not in str(refused.value)


def test_recipes_may_be_the_roots_and_are_not_unless_the_operator_says_so() -> None:
    least = ["run", "--runtime", "podman", "--root", "http://root.example"]
    assert not settings().roots.recipes
    assert settings("--recipes-from-roots", least=least).recipes is None
    assert settings("--take-bundles", "1Gi", least=least).recipes is None
    with pytest.raises(SettingsError, match="--recipes-from-roots"):
        settings(least=least)


@pytest.mark.parametrize("option", ["--not-callable", "--only-from-roots", "--recipes-from-roots"])
def test_what_concerns_roots_needs_one(option: str) -> None:
    least = ["run", "--runtime", "podman", "--recipes", "r", "--listen", "192.0.2.7", "--announce"]
    with pytest.raises(SettingsError, match=f"{option}: there is no --root"):
        settings(option, least=least)


def test_a_machine_without_a_route_needs_to_be_told() -> None:
    with pytest.raises(SettingsError, match="--wireguard-endpoint"):
        settings(own=None)


def test_pods_may_be_reached_from_any_of_this_machines_addresses() -> None:
    found = own_addresses()
    assert own_address() in {None, *found}
    assert "127.0.0.1" not in found
    links = [address for _, address in addresses_of_links()]
    assert set(found) >= {address for address in links if "%" not in address}
    assert "127.0.0.1" not in links


def test_the_command_says_one_line(capsys: Any) -> None:
    assert main([*LEAST, "--listen", "nonsense"]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert said.err.startswith("sinfonia-agent: --listen nonsense")


def test_help_teaches(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    said = capsys.readouterr().out
    for words in ("examples:", "--announce", "Exit status", "--root URL", "WireGuard"):
        assert words in said


def test_bundles_are_taken_only_where_asked_for() -> None:
    assert settings().bundles.most_bytes == 0
    assert settings("--take-bundles", "4Gi").bundles.most_bytes == 4 << 30
    for size in ("", "4", "many", "1Ki"):
        with pytest.raises(SettingsError, match="take-bundles"):
            settings("--take-bundles", size)
    kubernetes = ["run", "--runtime", "kubernetes", "--root", "http://r.example", "--recipes", "x"]
    with pytest.raises(SettingsError, match="registries"):
        settings("--take-bundles", "4Gi", least=kubernetes)
