"""The root operator's command: cloudlets, tenants, apps, recipes, tokens, admission and usage of a root.

`python -m cloud.operator_cli --help` explains itself. It talks to a root over HTTP with a token; only
`bootstrap` writes to DynamoDB itself. Results go to stdout, everything else to stderr; errors are one line
and an exit status.
"""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where the modules of this command and chalicelib are

import operator_access as access
import operator_commands as commands
from operator_arguments import parse
from operator_client import OperatorError, Refused, RootClient, printable
from operator_commands import Session
from operator_secrets import read_token, tenant_of
from operator_usage import usage

_ACTS: Mapping[str, Callable[[Session], None]] = {
    "cloudlets list": commands.list_cloudlets,
    "cloudlets show": commands.show_cloudlet,
    "cloudlets remove": commands.remove_cloudlet,
    "tenants list": commands.list_tenants,
    "tenants show": commands.show_tenant,
    "tenants create": commands.create_tenant,
    "tenants set": commands.set_tenant,
    "tenants delete": commands.delete_tenant,
    "apps list": commands.list_apps,
    "apps show": commands.show_app,
    "apps put": commands.put_app,
    "apps delete": commands.delete_app,
    "recipes list": commands.list_recipes,
    "recipes show": commands.show_recipe,
    "recipes put": commands.put_recipe,
    "recipes delete": commands.delete_recipe,
    "tokens list": access.list_tokens,
    "tokens create": access.create_token,
    "tokens revoke": access.revoke_token,
    "admission show": access.show_admission,
    "admission set": access.set_admission,
    "admission invite": access.invite,
    "admission invitations": access.list_invitations,
    "admission uninvite": access.uninvite,
    "admission allow": access.allow,
    "admission deny": access.deny,
    "admission list": access.list_allowed,
    "usage": lambda session: usage(session, datetime.now(UTC).date()),  # noqa: TID251 - the command's own clock
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        _act(options)
        sys.stdout.flush()  # here, where a closed pipe is understood
    except OperatorError as error:
        return _complain(options, str(error), error.exit_status)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return _complain(options, "Interrupted.", 128 + signal.SIGINT)
    return 0


def _act(options: argparse.Namespace) -> None:
    if options.act == "bootstrap":
        from operator_bootstrap import bootstrap  # the root's code and PynamoDB take half a second

        bootstrap(options, sys.stdout)
        return
    url = options.root or os.environ.get("SINFONIA_ROOT")
    if not url:
        raise Refused("Which root? Set SINFONIA_ROOT, or give --root, like https://root.example.org")
    token = read_token(options.token_file, os.environ)
    client = RootClient(
        url, token, seconds=options.timeout, pause=threading.Event().wait, plain=options.plain
    )
    tenant = getattr(options, "tenant", None) or os.environ.get("SINFONIA_TENANT") or tenant_of(token)
    _ACTS[options.act](Session(options, client, tenant, sys.stdout))


def _complain(options: argparse.Namespace, message: str, status: int) -> int:
    line = printable(message)
    start = "\r\x1b[K" if sys.stderr.isatty() else ""
    if options.json:
        print(json.dumps({"error": line, "exit_status": status}), file=sys.stderr)
    else:
        print(f"{start}operator: {line}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
