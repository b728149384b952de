"""The asyncio twins: the same calls, the loop free meanwhile, and nothing left open by who gave up."""

from __future__ import annotations

import asyncio
import inspect
import threading
from pathlib import Path

import pytest

import device_sdk
from device_sdk import aio
from device_sdk.calls.deploy import HELLOWORLD, Parts
from device_sdk.errors import NoCloudletError
from tests.fakes.device_sdk_servers import FakeServer, always, at
from tests.lab.machine import poll


@pytest.mark.parametrize("name", aio.__all__)
def test_twins_take_what_their_originals_take(name: str) -> None:
    twin, original = getattr(aio, name), getattr(device_sdk, name)
    assert inspect.signature(twin).parameters == inspect.signature(original).parameters
    assert twin.__doc__ == original.__doc__


def test_the_loop_is_free_while_a_call_waits(tmp_path: Path) -> None:
    held = threading.Event()
    parts = Parts(tmp_path, always(FakeServer(at("far", 1), hang=held)), networks=tuple)

    async def both() -> list[str]:
        asyncio.get_running_loop().call_later(0.05, held.set)
        found = await aio.deploy_backend("http://root.example", HELLOWORLD, jit="off", parts=parts)
        return [target.place for target in found]

    assert asyncio.run(both()) == ["far"]


def test_errors_are_the_same(tmp_path: Path) -> None:
    parts = Parts(tmp_path, always(FakeServer(error=NoCloudletError("nothing near"))))
    with pytest.raises(NoCloudletError, match="nothing near"):
        asyncio.run(aio.deploy_backend("http://root.example", HELLOWORLD, jit="off", parts=parts))


class Opened:
    """Something that is opened once `may_open`, and remembers what became of it."""

    def __init__(self) -> None:
        self.may_open, self.is_open, self.closed = threading.Event(), threading.Event(), threading.Event()

    def __enter__(self) -> Opened:
        self.may_open.wait(10)
        self.is_open.set()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.set()


def test_what_is_opened_is_closed_also_after_an_error() -> None:
    opened = Opened()
    opened.may_open.set()

    async def use() -> None:
        async with aio._entered(lambda: opened)() as given:
            assert given is opened
            assert opened.is_open.is_set()
            assert not opened.closed.is_set()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(use())
    assert opened.closed.is_set()


def test_what_opens_after_its_task_was_cancelled_is_closed() -> None:
    opened = Opened()

    async def use() -> None:
        async with aio._entered(lambda: opened)():
            pytest.fail("nobody waits for it any more")

    async def cancelled() -> None:
        task = asyncio.ensure_future(use())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not opened.is_open.is_set()
        opened.may_open.set()
        assert await asyncio.to_thread(poll, opened.closed.is_set)

    asyncio.run(cancelled())


def test_a_loop_that_ends_closes_what_was_about_to_open() -> None:
    """asyncio.run cancels what is left, and waits for the threads."""
    opened = Opened()

    async def use() -> None:
        async with aio._entered(lambda: opened)():
            pytest.fail("nobody waits for it any more")

    async def abandoned() -> None:
        asyncio.get_running_loop().call_later(0.05, opened.may_open.set)
        await asyncio.wait_for(use(), 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(abandoned())
    assert opened.closed.is_set()
