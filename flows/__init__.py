"""Flows: what runs when, with Prefect; and the command line.

Prefect reads its settings when it is first imported, so they are set here, before any flow
imports it. What the environment already says is left alone.
"""

import logging
import os

_PACKAGES = ("stores", "pipeline", "flows")

_SETTINGS = {
    # Nothing is reported of what is run here.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # Leases in memory hold their slot for ever after a crash; leases in files run out.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
        "prefect.server.concurrency.lease_storage.filesystem"
    ),
    # The first start makes a database, which takes longer than the 20 s of the default.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    # What the other packages log belongs to the run, though they do not know Prefect.
    "PREFECT_LOGGING_EXTRA_LOGGERS": ",".join(_PACKAGES),
    # The same packages also work outside a run, where there is no page to log to.
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}

for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)

for _package in _PACKAGES:
    logging.getLogger(_package).setLevel(logging.INFO)  # facts; the root logger drops them
