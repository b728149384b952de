"""What an operator can set. Read once, by `app.py` from the Lambda's environment or by `local_root.py`."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from chalicelib.errors import InvalidRequest
from chalicelib.fields import Network, parse_url

_TABLES = (
    "table",
    "deployment_table",
    "account_table",
    "usage_table",
    "limit_table",
    "command_table",
    "measurement_table",
)


class SettingsError(ValueError):
    """A setting is missing or wrong; the text names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Every field is the environment variable `SINFONIA_<NAME>`."""

    lease_secret: bytes
    """Signs lease tokens, and the root's key for calls to cloudlets derives from it; at least 16 bytes.
    Several, separated by commas: the first makes, all verify. To change it put the new one in front, and take
    the old one away when every cloudlet has registered again, which is a day later."""
    table: str = "sinfonia-cloudlets"
    """Name of CloudletTable."""
    deployment_table: str = "sinfonia-deployments"
    """Name of the table of what runs where."""
    account_table: str = "sinfonia-accounts"
    """Name of the table of tenants, apps, recipes and tokens."""
    usage_table: str = "sinfonia-usage"
    """Name of the table of the usage ledger."""
    limit_table: str = "sinfonia-limits"
    """Name of the table that counts deploys where their number is limited."""
    command_table: str = "sinfonia-commands"
    """Name of the table of commands that wait for cloudlets which can't be called."""
    measurement_table: str = "sinfonia-measurements"
    """Name of the table of what devices measured."""
    measurements: bool = True
    """Whether what devices measure is kept and used. It costs a write unit a report, and half a read unit for
    each network of devices every 30 s."""
    dynamodb_url: str | None = None
    """Where DynamoDB is, if not at AWS."""
    region: str = "us-east-1"
    """AWS region (`AWS_REGION`, which Lambda sets)."""
    recipes: str = "recipes"
    """Folder or URL of `<app UUID>.yaml` files."""
    matchers: tuple[str, ...] = ("network", "spread")
    """The chain of matchers: built in, or entry points of the group `sinfonia.tier1_matchers`."""
    matcher_seconds: float = 0.8
    """What a matcher that is not built in may take; the default chain then chooses. Of a deploy's 8 seconds
    agents need most."""
    trusted_proxies: tuple[Network, ...] = ()
    """Whose `X-ClientIP` is believed. Nobody's by default: anybody can send it."""
    allow_private_endpoints: bool = False
    """Whether cloudlets may live at private, loopback or link-local addresses. A public root says no: a
    cloudlet could point it at its operator's own network."""
    open: bool = False
    """Whether the published Sinfonia's unsigned keepalives are admitted."""
    interval_seconds: float = 15.0
    """Between keepalives where the cloudlet asks for nothing; the published Sinfonia's pace."""
    min_interval_seconds: float = 5.0
    """Faster is not granted: each keepalive costs a write unit."""
    max_interval_seconds: float = 300.0
    """Slower is not granted: for three times this a dead cloudlet is still offered."""
    keepalives_per_s: float = 20_000.0
    """Of a fleet that would send more the intervals are lengthened. Half of what a new table that is paid per
    request takes: 40,000 write units a second."""
    url: str = ""
    """The root's own URL, for which cloudlets sign their registrations. Empty: by whatever name they call."""
    calls_per_address: float = 20.0
    """Calls per second of each kind (deploys, registrations, …) from one address, in one container; ten
    seconds' worth may come at once. Many devices of one carrier may share an address."""
    calls_per_app: float = 200.0
    """Deploys per second of one app, in one container: enough for a crowd, and an app that goes wild leaves
    something for the others."""
    deadline_seconds: float = 8.0
    """For a whole deploy that waits for nothing; API Gateway gives up at 29 s."""
    metrics_namespace: str = ""
    """CloudWatch namespace of the metrics in log lines; none are written where it is empty."""
    provider: str = "sinfonia"
    """How CAMARA's programs are told whose the shared cloudlets are; letters, digits and hyphens."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Settings":
        """From a mapping like `os.environ`; a wrong value is a `SettingsError`."""
        given = {
            key.removeprefix("SINFONIA_").lower(): value
            for key, value in environ.items()
            if key.startswith("SINFONIA_") and value
        }
        secret = given.get("lease_secret", "").encode()
        if any(len(each) < 16 for each in _secrets(secret)):
            raise SettingsError("SINFONIA_LEASE_SECRET: must have at least 16 characters")
        default = cls(lease_secret=secret)
        return cls(
            lease_secret=secret,
            **{name: given.get(name, getattr(default, name)) for name in _TABLES},
            dynamodb_url=given.get("dynamodb_url"),
            region=environ.get("AWS_REGION") or default.region,
            recipes=given.get("recipes", default.recipes),
            matchers=tuple(_words(given["matchers"])) if "matchers" in given else default.matchers,
            trusted_proxies=tuple(_network(word) for word in _words(given.get("trusted_proxies", ""))),
            matcher_seconds=_seconds(given, "matcher_seconds", default.matcher_seconds),
            measurements=_boolean(given, "measurements", "true"),
            allow_private_endpoints=_boolean(given, "allow_private_endpoints"),
            open=_boolean(given, "open"),
            interval_seconds=_seconds(given, "interval_seconds", default.interval_seconds),
            min_interval_seconds=_seconds(given, "min_interval_seconds", default.min_interval_seconds),
            max_interval_seconds=_seconds(given, "max_interval_seconds", default.max_interval_seconds),
            calls_per_address=_rate(given, "calls_per_address", default.calls_per_address),
            calls_per_app=_rate(given, "calls_per_app", default.calls_per_app),
            deadline_seconds=_seconds(given, "deadline_seconds", default.deadline_seconds),
            keepalives_per_s=_rate(given, "keepalives_per_s", default.keepalives_per_s),
            url=_url(given.get("url", default.url)),
            metrics_namespace=given.get("metrics_namespace", default.metrics_namespace),
            provider=given.get("provider", default.provider),
        )

    @property
    def lease_secrets(self) -> tuple[bytes, ...]:
        """The first makes tokens and signatures, all verify."""
        return _secrets(self.lease_secret)


def _secrets(text: bytes) -> tuple[bytes, ...]:
    return tuple(each.strip() for each in text.split(b","))


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _network(text: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise SettingsError(f"SINFONIA_TRUSTED_PROXIES: {error}") from error


def _url(text: str) -> str:
    try:
        return text and parse_url(text, "SINFONIA_URL").geturl()
    except InvalidRequest as error:
        raise SettingsError(str(error)) from error


def _boolean(given: Mapping[str, str], name: str, default: str = "false") -> bool:
    value = given.get(name, default).lower()
    if value not in {"true", "false"}:
        raise SettingsError(f"SINFONIA_{name.upper()}: must be true or false")
    return value == "true"


def _seconds(given: Mapping[str, str], name: str, default: float) -> float:
    try:
        value = float(given.get(name, default))
    except ValueError:
        value = -1.0
    if not 0 < value <= 86400:
        raise SettingsError(f"SINFONIA_{name.upper()}: must be a number of seconds")
    return value


def _rate(given: Mapping[str, str], name: str, default: float) -> float:
    try:
        value = float(given.get(name, default))
    except ValueError:
        value = -1.0
    if not 0.001 <= value <= 1e6:
        raise SettingsError(f"SINFONIA_{name.upper()}: must be a number of calls per second, at most 1000000")
    return value
