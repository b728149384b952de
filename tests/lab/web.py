"""WSGI applications served on loopback for a test, as the real ones are: by waitress."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from waitress.server import create_server


@contextlib.contextmanager
def serving(application: Any, threads: int = 8) -> Iterator[str]:
    """Serve a WSGI application on a free port of loopback."""
    server = create_server(application, host="127.0.0.1", port=0, threads=threads)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        server.task_dispatcher.shutdown(timeout=5)  # a thread that still answers would miss what is closed
        with server.trigger.lock:  # keeps the loop, awake for another reason, from ending before it is pulled
            server.trigger.thunks.append(lambda: _end(server))
            server.trigger.pull_trigger()
        thread.join(5)


def _end(server: Any) -> None:
    """Close everything from within waitress's own loop: from any other thread, the loop may just be waiting
    for what is closed, and dies of it with its connections open.
    """
    for channel in list(server.active_channels.values()):
        channel.handle_close()
    wrapper = server.trigger.socket  # a second descriptor of the trigger's, which waitress itself forgets
    server.close()
    wrapper.close()
