"""The arguments of the operator's commands, and the help that teaches them. Called by `operator_cli.py`."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from operator_values import REQUIREMENTS, boolean, count, day, days, quota, requirement, seconds, uuid

DESCRIPTION = "Manage a Sinfonia root: its cloudlets, tenants, apps, recipes, tokens, admission and usage."
EPILOG = """\
the first steps, on a laptop and in AWS:
  python -m cloud.operator_cli bootstrap --dynamodb-url http://127.0.0.1:8000 --out operator-token
  python -m cloud.operator_cli bootstrap --region eu-central-1 --out operator-token
  export SINFONIA_ROOT=https://root.example.org SINFONIA_TOKEN="$(cat operator-token)"

a tenant with an app, whose cloudlets need an invitation:
  python -m cloud.operator_cli tenants create acme --name 'Acme Ltd' --quota deploys_per_minute=600
  python -m cloud.operator_cli tokens create --tenant acme --scope tenant --out acme-token
  python -m cloud.operator_cli apps put --tenant acme --name chess --require gpu --require jurisdiction=DE
  python -m cloud.operator_cli recipes put APP-UUID chess.yaml --tenant acme
  python -m cloud.operator_cli admission invite --tenant acme --name 'Hamburg 1'
  python -m cloud.operator_cli usage --tenant acme --from 2026-11-01 --to 2026-11-30 --csv > november.csv

With a tenant's token, that tenant is meant and --tenant is not needed; with an operator's, the root itself.

exit status:
  0 done                        2 the call is wrong, or the root refuses it
  3 the root can't be reached, is too busy or answers nonsense
  4 there is no token, or this one is not enough
"""
ADMISSIONS = ("open", "invitation", "allow-list")
_Add = Callable[..., argparse.ArgumentParser]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The checked arguments; `act` names the command, like "apps list". Exits with 2 if they are wrong."""
    parser = argparse.ArgumentParser(
        "python -m cloud.operator_cli",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # else --token SECRET would be a --token-file
    )
    nouns = parser.add_subparsers(required=True, metavar="COMMAND")
    _bootstrap(nouns)
    for add_noun in (_cloudlets, _tenants, _apps, _recipes, _tokens, _admission):
        add_noun(nouns)
    _usage(nouns)
    return parser.parse_args(list(argv))


def _noun(nouns: Any, name: str, text: str, example: str) -> _Add:
    """A group of commands about one kind of thing; gives what adds one of them."""
    parser = nouns.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"example:\n  python -m cloud.operator_cli {name} {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(required=True, metavar="ACTION")

    def add(verb: str, help_text: str, *, tenant: bool = True) -> argparse.ArgumentParser:
        return _leaf(verbs, verb, f"{name} {verb}", help_text, tenant=tenant)

    return add


def _leaf(parent: Any, word: str, act: str, text: str, *, tenant: bool = True) -> argparse.ArgumentParser:
    """One command, with what all have in common."""
    parser: argparse.ArgumentParser = parent.add_parser(
        word, help=text, description=f"{text}.", allow_abbrev=False
    )
    parser.set_defaults(act=act)
    root = parser.add_argument_group("the root")
    root.add_argument("--root", metavar="URL", help="its URL [SINFONIA_ROOT]")
    root.add_argument(
        "--token-file", metavar="FILE", help="file with the token, - for standard input [SINFONIA_TOKEN]"
    )
    root.add_argument("--plain", action="store_true", help="let the token go unencrypted to another machine")
    root.add_argument("--timeout", type=seconds, default=30.0, metavar="S", help="limit of each call [30]")
    if tenant:
        parser.add_argument("--tenant", metavar="ID", help="whose: a tenant's id, or root [the token's]")
    parser.add_argument("--json", action="store_true", help="results and errors for programs")
    return parser


def _list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=count, default=1000, metavar="N", help="show at most so many [1000]")


def _bootstrap(nouns: Any) -> None:
    parser: argparse.ArgumentParser = nouns.add_parser(
        "bootstrap",
        help="make the first operator's token",
        description="Make an operator's token directly in the root's table, with your rights for DynamoDB: "
        "the only command that needs no token and no root that runs.",
    )
    parser.set_defaults(act="bootstrap")
    add = parser.add_argument
    add("--table", default="sinfonia-accounts", help="name of the accounts' table [%(default)s]")
    add("--region", default="us-east-1", help="AWS region of the table [%(default)s]")
    add("--dynamodb-url", metavar="URL", help="where DynamoDB is, if not at AWS")
    add("--name", default="bootstrap", help="what the token is called in lists [%(default)s]")
    _out(parser)
    add("--json", action="store_true", help="results and errors for programs")


def _out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="keep the secret in a new file that only you can read, and don't show it",
    )


def _cloudlets(nouns: Any) -> None:
    add = _noun(nouns, "cloudlets", "the cloudlets that are alive", "list --json")
    parser = add("list", "Show the shared cloudlets, or a tenant's own", tenant=False)
    parser.add_argument("--tenant", metavar="ID", help="show this tenant's own")
    _list(parser)
    add("show", "Show one cloudlet", tenant=False).add_argument("cloudlet", metavar="UUID", type=uuid)
    parser = add("remove", "Offer a cloudlet no longer, until it registers again", tenant=False)
    parser.add_argument("cloudlet", metavar="UUID", type=uuid)


def _tenants(nouns: Any) -> None:
    add = _noun(nouns, "tenants", "who has apps on this root", "create acme --quota apps=5")
    _list(add("list", "Show the tenants", tenant=False))
    add("show", "Show one tenant", tenant=False).add_argument("tenant", metavar="ID")
    for verb, text in (("create", "Make a new tenant"), ("set", "Change what is given of a tenant")):
        parser = add(verb, text, tenant=False)
        parser.add_argument("tenant", metavar="ID")
        parser.add_argument("--name", help="its name for people")
        parser.add_argument("--admission", choices=ADMISSIONS, help="who may register its own cloudlets")
        parser.add_argument(
            "--quota",
            type=quota,
            action="append",
            default=[],
            metavar="WHAT=N",
            help="apps, recipes, tokens, invitations, cloudlets, deploys_per_minute or deploys_per_day",
        )
    parser = add("delete", "Remove a tenant with all that it has; its usage stays", tenant=False)
    parser.add_argument("tenant", metavar="ID")
    _yes(parser)


def _yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="yes, I mean it")


def _apps(nouns: Any) -> None:
    add = _noun(nouns, "apps", "apps: their recipes, matchers, requirements and limits", "put --name chess")
    _list(add("list", "Show the apps"))
    _app(add("show", "Show one app"))
    parser = add("put", "Make an app, or change what is given of it")
    parser.add_argument("app", metavar="UUID", type=uuid, nargs="?", help="without one: a new app")
    parser.add_argument("--name", help="its name for people")
    parser.add_argument(
        "--matcher",
        action="append",
        metavar="M",
        help="a matcher's name, lambda:ARN or https://…; repeat for a chain",
    )
    parser.add_argument("--require", action="append", type=requirement, metavar="WHAT", help=REQUIREMENTS)
    parser.add_argument(
        "--uses-shared", type=boolean, metavar="yes|no", help="may shared cloudlets serve it?"
    )
    parser.add_argument("--token-required", type=boolean, metavar="yes|no", help="must devices show a token?")
    parser.add_argument("--deploys-per-minute", type=count, metavar="N", help="limit of its deploys")
    parser.add_argument("--recipe", type=count, metavar="N", help="the version of its recipe to deploy")
    parser.add_argument(
        "--unset",
        action="append",
        default=[],
        choices=("name", "matchers", "requirements", "deploys_per_minute"),
        help="take it away",
    )
    parser = add("delete", "Give an app up with its recipes")
    _app(parser)
    _yes(parser)


def _app(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("app", metavar="APP", type=uuid, help="UUID of the app")


def _recipes(nouns: Any) -> None:
    add = _noun(nouns, "recipes", "versions of an app's recipe", "put APP-UUID chess.yaml")
    parser = add("list", "Show the versions")
    _app(parser)
    _list(parser)
    parser = add("show", "Show one version")
    _app(parser)
    parser.add_argument("version", metavar="N", type=count)
    parser = add("put", "Add a version, and deploy it from now on")
    _app(parser)
    parser.add_argument("file", metavar="FILE", help="a recipe in YAML or JSON; - for standard input")
    parser.add_argument("--later", action="store_true", help="don't deploy it yet; apps put --recipe N does")
    parser = add("delete", "Remove a version that is not deployed")
    _app(parser)
    parser.add_argument("version", metavar="N", type=count)


def _tokens(nouns: Any) -> None:
    add = _noun(nouns, "tokens", "tokens: who may manage or deploy", "create --tenant acme --scope deploy")
    _list(add("list", "Show the tokens, without their secrets"))
    parser = add("create", "Make a token; its secret is shown once")
    parser.add_argument(
        "--scope",
        required=True,
        choices=("operator", "tenant", "deploy"),
        help="operator: the whole root; tenant: all of a tenant's affairs; deploy: deploy its apps",
    )
    parser.add_argument("--name", help="what it is called in lists")
    parser.add_argument("--days", type=days, metavar="N", help="how long it works [for ever]")
    _out(parser)
    add("revoke", "Let a token work no longer, within seconds").add_argument("token", metavar="ID")


def _admission(nouns: Any) -> None:
    add = _noun(nouns, "admission", "which cloudlets may register", "invite --name 'Hamburg 1'")
    add("show", "Show who may register")
    add("set", "Say who may register").add_argument("policy", choices=ADMISSIONS)
    parser = add("invite", "Make an invitation for one cloudlet; its code is shown once")
    parser.add_argument("--name", help="for whom")
    parser.add_argument("--days", type=days, default=7.0, metavar="N", help="to be used within so long [7]")
    _out(parser)
    _list(add("invitations", "Show the invitations, without their codes"))
    add("uninvite", "Take an invitation back").add_argument("invitation", metavar="ID")
    parser = add("allow", "Put a cloudlet on the allow list")
    parser.add_argument("cloudlet", metavar="UUID", type=uuid)
    parser.add_argument("--name", help="whose it is")
    add("deny", "Take a cloudlet off the allow list").add_argument("cloudlet", metavar="UUID", type=uuid)
    _list(add("list", "Show the allow list"))


def _usage(nouns: Any) -> None:
    parser = _leaf(nouns, "usage", "usage", "Show or export what was used, from the ledger")
    parser.add_argument(
        "--from", dest="first", type=day, metavar="DAY", help="first day, UTC [of this month]"
    )
    parser.add_argument("--to", dest="last", type=day, metavar="DAY", help="last day, UTC [today]")
    parser.add_argument(
        "--by", choices=("app", "cloudlet", "day"), default="app", help="what the table sums up [app]"
    )
    parser.add_argument("--csv", action="store_true", help="every entry as CSV")
