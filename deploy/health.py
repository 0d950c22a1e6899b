"""A container's health check: exits 0 if what runs in it is well.

    health.py http://127.0.0.1:8090/sluice/healthz    an address answers
    health.py scheduler                               Airflow's API says that this program is well
    health.py worker                                  the Celery worker of this host answers a ping

It runs every few seconds in each container, so it imports no Airflow: that would take three.
"""

import json
import os
import shlex
import subprocess
import sys
import urllib.request
from urllib.parse import urljoin

PATIENCE = 5  # seconds


def fetch(url: str) -> bytes:
    """Return what ``url`` answers with; raise unless it is a success."""
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310  # ours alone
        return bytes(answer.read())


def reports_well(program: str) -> bool:
    """Whether a program's last report to Airflow's database is recent."""
    api = urljoin(os.environ["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"], "/api/v2/monitor/health")
    return bool(json.loads(fetch(api))[program]["status"] == "healthy")


def worker_answers(name: str) -> bool:
    """Whether the worker of that name takes part."""
    from celery import Celery

    command = shlex.split(os.environ["AIRFLOW__CELERY__BROKER_URL_CMD"])
    broker = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    control = Celery(broker=broker).control
    return bool(control.ping(destination=[f"celery@{name}"], timeout=PATIENCE))


def main(asked: str) -> int:
    """Return an exit code."""
    if asked.startswith("http"):
        return 0 if fetch(asked) else 1
    if asked == "worker":
        return 0 if worker_answers(os.environ["HOSTNAME"]) else 1
    return 0 if reports_well(asked) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
