"""Log lines to standard error, one form for ours and uvicorn's: key=value for people, or JSON objects.

Configured anew in every worker, since they are spawned. There is no access log, and tracebacks show no local
variables: a digest that somebody asked about must not end up in a log.
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

from service.settings import ServiceSettings


def configure_logging(settings: ServiceSettings) -> None:
    """Send structlog's and the standard library's records to standard error."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(allow=()),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.CallsiteParameterAdder({structlog.processors.CallsiteParameter.PROCESS}),
    ]
    rendering: list[Processor]
    if settings.log_format == "json":
        rendering = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        rendering = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
            )
        ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    # Its "application startup complete" and the like; our own lines say what is served. Trouble is above INFO.
    logging.getLogger("uvicorn.error").setLevel(max(root.level, logging.WARNING if root.level > logging.DEBUG else 0))
    logging.getLogger("asyncio").setLevel(logging.WARNING)
