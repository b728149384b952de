"""The operator's `bootstrap` command: the first token, made where it is kept. Called by `operator_cli.py`.

It uses the root's own code and the caller's rights for DynamoDB, and talks to no root.
"""

import argparse
import os
import secrets
import threading
import time
from typing import TextIO

from chalicelib.accounts.tenants import TenantBook
from chalicelib.accounts.tokens import Scope, TokenRequest, Tokens
from chalicelib.errors import RootError
from chalicelib.tables.account_table import DynamoAccountTable
from operator_client import OperatorError
from operator_output import as_json, card
from operator_secrets import new_secret_file


def bootstrap(options: argparse.Namespace, output: TextIO) -> None:
    """Make an operator's token, and show it or keep it in a file."""
    if options.dynamodb_url:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            os.environ.setdefault(name, "local")  # engines want some, any will do
    documents = DynamoAccountTable(
        options.table, region=options.region, url=options.dynamodb_url, pause=threading.Event().wait
    )
    tenants = TenantBook(documents, time.time, time.monotonic)
    tokens = Tokens(documents, tenants, time.time, time.monotonic, secrets.token_bytes)
    with new_secret_file(options.out) as keep:
        try:
            token, text = tokens.make("", TokenRequest(Scope.OPERATOR, options.name))
        except RootError as error:
            reason = " ".join(str(error.__cause__ or error).split())[:300]
            where = options.dynamodb_url or options.region
            raise OperatorError(
                f"No token was made in the table {options.table} at {where}: {reason}"
            ) from error
        shown = token.to_json()
        if options.out:
            keep(text)
            shown["kept_in"] = options.out
        else:
            shown["token"] = text
    (as_json if options.json else card)(shown, output)
