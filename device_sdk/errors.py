"""What can go wrong, split by what the caller can do about it.

::

    SinfoniaError
    ├── RequestError     the call is wrong, or the root refuses it: change the call
    │   └── NotFoundError    there is no such app, or no backend of it for this device
    ├── RootError        the root can't be reached, is too slow or answers nonsense: try again, or another
    │   └── TooManyError     it takes no more calls of this app or device for now: try again later
    ├── NoCloudletError  nothing can serve this device now: try again later, or elsewhere
    ├── DeploymentError  cloudlets were asked and the backend does not run: look at the recipe
    ├── TunnelError      the backend may run, but there is no way to it from here: look at the network
    │   └── InUseError       another program on this device has the app's tunnel open: end that, or use it
    ├── TrustError       what answers nearby is not the cloudlet that this device was paired with: beware
    └── DeviceError      this device lacks rights, a program, or has a damaged key: mend the device

Adapters translate their libraries' errors into these. Every message is one line that says what to do.
"""

from __future__ import annotations


class SinfoniaError(Exception):
    """Anything that this package raises on purpose. `exit_status` is the command line's.

    The statuses start at 110 so that `sinfonia run` can hand on the command's own (small numbers are common
    there, 125 and more belong to shells).
    """

    exit_status = 1
    trace_id: str | None = None
    """Under which the root and its cloudlets logged the call, where one was made."""


class RequestError(SinfoniaError, ValueError):
    """An argument is wrong, or the root understood the call and refuses it (unknown app, restricted)."""

    exit_status = 2


class NotFoundError(RequestError):
    """The root knows no such app, or no backend of it for this device."""


class RootError(SinfoniaError):
    """The root can't be reached, did not answer in time, or answered nonsense."""

    exit_status = 110


class TooManyError(RootError):
    """The root takes no more calls for now. `retry_after_seconds` is its advice, or None."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class NoCloudletError(SinfoniaError):
    """No cloudlet can serve this device now. `retry_after_seconds` is the root's advice, or None."""

    exit_status = 111

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DeploymentError(SinfoniaError):
    """Cloudlets were asked, and the backend could not be started or did not become ready in time."""

    exit_status = 112


class TunnelError(SinfoniaError):
    """The tunnel could not be made, is not safe to make, or nothing answers through it."""

    exit_status = 113


class InUseError(TunnelError):
    """Another program on this device has a tunnel to this gateway with the app's key; there can be one."""


class DeviceError(SinfoniaError):
    """Rights or a program are missing on this device, or its stored key can't be used."""

    exit_status = 114


class TrustError(SinfoniaError):
    """What answers nearby can't show that it is the cloudlet it says it is, or that it knows the code."""

    exit_status = 115
