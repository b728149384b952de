"""What an operator can set, and what is refused by name."""

from ipaddress import ip_network

import pytest
from chalicelib.settings import Settings, SettingsError

SECRET = {"SINFONIA_LEASE_SECRET": "0123456789abcdef"}


def test_defaults():
    settings = Settings.from_environ(SECRET)
    assert settings == Settings(lease_secret=b"0123456789abcdef")
    assert settings.matchers == ("network", "spread")
    assert not settings.open
    assert not settings.allow_private_endpoints


def test_a_secret_is_changed_by_putting_a_new_one_in_front():
    settings = Settings.from_environ({"SINFONIA_LEASE_SECRET": "fedcba9876543210, 0123456789abcdef"})
    assert settings.lease_secrets == (b"fedcba9876543210", b"0123456789abcdef")
    assert Settings.from_environ(SECRET).lease_secrets == (b"0123456789abcdef",)
    for wrong in ("fedcba9876543210,", "fedcba9876543210,short", ",fedcba9876543210"):
        with pytest.raises(SettingsError, match="LEASE_SECRET"):
            Settings.from_environ({"SINFONIA_LEASE_SECRET": wrong})


def test_the_fleets_pace_is_a_rate():
    assert Settings.from_environ({**SECRET, "SINFONIA_KEEPALIVES_PER_S": "50"}).keepalives_per_s == 50
    for wrong in ("0", "-1", "nan", "many"):
        with pytest.raises(SettingsError, match="KEEPALIVES_PER_S"):
            Settings.from_environ({**SECRET, "SINFONIA_KEEPALIVES_PER_S": wrong})


def test_everything():
    settings = Settings.from_environ(
        {
            **SECRET,
            "AWS_REGION": "eu-north-1",
            "SINFONIA_TABLE": "t",
            "SINFONIA_DYNAMODB_URL": "http://127.0.0.1:1",
            "SINFONIA_RECIPES": "https://example.org/r",
            "SINFONIA_MATCHERS": "network, random",
            "SINFONIA_TRUSTED_PROXIES": "192.0.2.0/24,2001:db8::/32",
            "SINFONIA_ALLOW_PRIVATE_ENDPOINTS": "True",
            "SINFONIA_OPEN": "true",
            "SINFONIA_INTERVAL_SECONDS": "20",
            "SINFONIA_MIN_INTERVAL_SECONDS": "0.5",
            "SINFONIA_MAX_INTERVAL_SECONDS": "60",
            "SINFONIA_DEADLINE_SECONDS": "12",
        }
    )
    assert settings == Settings(
        lease_secret=b"0123456789abcdef",
        table="t",
        dynamodb_url="http://127.0.0.1:1",
        region="eu-north-1",
        recipes="https://example.org/r",
        matchers=("network", "random"),
        trusted_proxies=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")),
        allow_private_endpoints=True,
        open=True,
        interval_seconds=20,
        min_interval_seconds=0.5,
        max_interval_seconds=60,
        deadline_seconds=12,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEASE_SECRET", ""),
        ("LEASE_SECRET", "short"),
        ("OPEN", "yes"),
        ("TRUSTED_PROXIES", "everybody"),
        ("INTERVAL_SECONDS", "0"),
        ("INTERVAL_SECONDS", "nan"),
        ("DEADLINE_SECONDS", "soon"),
        ("URL", "root.example.org"),
        ("URL", "ftp://root.example.org"),
        ("URL", "http://["),
    ],
)
def test_wrong_settings_are_named(name, value):
    with pytest.raises(SettingsError, match=name):
        Settings.from_environ({**SECRET, f"SINFONIA_{name}": value})
