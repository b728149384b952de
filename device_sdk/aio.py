"""The SDK for asyncio: the same functions, awaited, out of the same implementation.

::

    from device_sdk import aio

    [target] = await aio.deploy_backend("https://root.example.org", "00000000-0000-0000-0000-000000000000")
    async with aio.open_tunnel(target) as tunnel:
        await asyncio.to_thread(tunnel.wait_ready)

Each runs in a thread of asyncio's default executor. A task that is cancelled stops waiting at once, and the
call behind it ends by itself within its time-out; a tunnel that it still opens is closed then. `on_progress`
is called in that thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar

import device_sdk
from device_sdk.background import Pending

__all__ = [
    "associate",
    "choose",
    "deploy_backend",
    "find_cloudlets",
    "find_deployments",
    "open_tunnel",
    "pair",
    "release",
]

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=AbstractContextManager[Any])


def _awaited(call: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    @wraps(call)
    async def awaited(*arguments: P.args, **options: P.kwargs) -> T:
        return await asyncio.to_thread(call, *arguments, **options)

    return awaited


def _entered(call: Callable[P, M]) -> Callable[P, AbstractAsyncContextManager[M]]:
    @asynccontextmanager
    @wraps(call)
    async def entered(*arguments: P.args, **options: P.kwargs) -> AsyncIterator[M]:
        opening = _Opening(lambda: call(*arguments, **options))
        try:
            opened = await asyncio.to_thread(opening.open)
        except asyncio.CancelledError:
            opening.give_up()
            raise
        try:
            yield opened
        finally:
            await asyncio.shield(asyncio.to_thread(opened.__exit__, None, None, None))

    return entered


class _Opening(Generic[M]):
    """Something that is being opened in a thread for a task that may not want it any more."""

    def __init__(self, call: Callable[[], M]) -> None:
        self._call = call
        self._guard = threading.Lock()
        self._opened: M | None = None
        self._unwanted = False

    def open(self) -> M:
        """Open it; at once closed again if nobody wants it by then."""
        opened: M = self._call().__enter__()
        with self._guard:
            self._opened = opened
            unwanted = self._unwanted
        if unwanted:
            opened.__exit__(None, None, None)
        return opened

    def give_up(self) -> None:
        """Want it no more. Does not wait."""
        with self._guard:
            self._unwanted = True
            opened = self._opened
        if opened is not None:
            Pending(lambda: opened.__exit__(None, None, None), "sinfonia-close")


associate = _entered(device_sdk.associate)
choose = _entered(device_sdk.choose)
deploy_backend = _awaited(device_sdk.deploy_backend)
find_cloudlets = _awaited(device_sdk.find_cloudlets)
find_deployments = _awaited(device_sdk.find_deployments)
open_tunnel = _entered(device_sdk.open_tunnel)
pair = _awaited(device_sdk.pair)
release = _awaited(device_sdk.release)
