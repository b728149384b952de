"""What the operator's commands about tokens and admission do. Called by `operator_cli.py`."""

from typing import Any

from operator_commands import Session, set_tenant
from operator_secrets import new_secret_file

_TOKEN_COLUMNS = ("id", "scope", "name", "created", "expires_at")
_INVITATION_COLUMNS = ("id", "name", "created", "expires_at", "cloudlet", "used")
_ALLOWED_COLUMNS = ("uuid", "name", "created")


def list_tokens(session: Session) -> None:
    """A tenant's tokens."""
    session.list_of(("tokens",), _TOKEN_COLUMNS)


def create_token(session: Session) -> None:
    """A new token."""
    _made(session, "tokens", {"scope": session.options.scope}, "token")


def revoke_token(session: Session) -> None:
    """Let a token work no longer."""
    session.call("DELETE", "tokens", session.options.token)
    session.done(f"revoked the token {session.options.token}")


def _made(session: Session, kind: str, request: dict[str, Any], secret: str) -> None:
    """Have something made that has a secret, and show it, or keep the secret in a file of its own."""
    options = session.options
    if options.name:
        request["name"] = options.name
    if options.days:
        request["valid_seconds"] = int(options.days * 86400)
    with new_secret_file(options.out) as keep:
        made = session.call("POST", kind, body=request)
        if options.out:
            keep(made.pop(secret))
            made["kept_in"] = options.out
    session.show(made)


def show_admission(session: Session) -> None:
    """Who may register."""
    session.show({"admission": session.call("GET")["admission"]})


def set_admission(session: Session) -> None:
    """Say who may register."""
    session.options.admission = session.options.policy
    set_tenant(session)


def invite(session: Session) -> None:
    """An invitation for one cloudlet."""
    _made(session, "invitations", {}, "code")


def list_invitations(session: Session) -> None:
    """A tenant's invitations."""
    session.list_of(("invitations",), _INVITATION_COLUMNS)


def uninvite(session: Session) -> None:
    """Take an invitation back."""
    session.call("DELETE", "invitations", session.options.invitation)
    session.done(f"took the invitation {session.options.invitation} back")


def allow(session: Session) -> None:
    """Put a cloudlet on the allow list."""
    name = {"name": session.options.name} if session.options.name else {}
    session.show(session.call("PUT", "cloudlets", session.options.cloudlet, body=name))


def deny(session: Session) -> None:
    """Take a cloudlet off the allow list."""
    session.call("DELETE", "cloudlets", session.options.cloudlet)
    session.done(f"{session.options.cloudlet} can't register again")


def list_allowed(session: Session) -> None:
    """The allow list."""
    session.list_of(("cloudlets",), _ALLOWED_COLUMNS)
