"""Log lines for people or for programs: installed by `__main__.py` alone. Names of fields are those of the
wire.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_word(value)}" for name, value in extra(record).items())
        text = f"{_time(record)} {record.levelname.lower():7} {record.getMessage()}{fields}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _time(record), "level": record.levelname.lower(), "message": record.getMessage()}
        line |= {"logger": record.name, **{name: str(value) for name, value in extra(record).items()}}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def extra(record: logging.LogRecord) -> dict[str, Any]:
    """The fields that a call gave with `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def install(*, as_json: bool, verbose: bool) -> None:
    """Log to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if as_json else _Lines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("edge_agent").setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("waitress").setLevel(logging.ERROR)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _word(value: Any) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(character in text for character in ' "\n=') else text
