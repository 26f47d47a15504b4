"""What keeps the service from starting.

    ServiceError
    ├── BadSettings      an option or HASHWACHT_ variable is unknown or makes no sense
    ├── OpenHost         asked to listen beyond this machine without --insecure-open
    ├── CannotListen     the port is taken or may not be used
    └── WorkersFailed    the workers could not start

`exit_code` is what the command ends with. Once it runs, what goes wrong is answered over HTTP instead:
see service/problems.py.
"""

from __future__ import annotations

from typing import ClassVar


class ServiceError(Exception):
    """Root of the family; the message names the setting and the remedy."""

    exit_code: ClassVar[int] = 1


class BadSettings(ServiceError):
    """A setting is misspelt, missing or out of range."""

    exit_code = 2


class OpenHost(ServiceError):
    """The host is reachable from other machines, and there is no authentication yet."""

    exit_code = 2


class CannotListen(ServiceError):
    """The address cannot be had: taken, privileged, or not of this machine."""

    exit_code = 6


class WorkersFailed(ServiceError):
    """Workers ended before they served; their own log lines say why."""

    exit_code = 1
