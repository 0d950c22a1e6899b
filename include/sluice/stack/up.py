"""``sluice up``, ``down`` and ``reset``: everything on one machine, from nothing to two answers."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from sluice.errors import StackError
from sluice.settings import Settings
from sluice.stack import airflow, database, postgres, processes, sample, supervisor
from sluice.stack.client import AirflowClient
from sluice.stack.database import Databases
from sluice.stack.display import Display, Say
from sluice.stack.home import Home, Secrets
from sluice.stack.sample import Answer, Tick
from sluice.stack.supervisor import Program, Supervisor

_AIRFLOW_PATIENCE = 180.0  # seconds; 15 on a quiet machine, 140 were seen on a busy one
_SAMPLE_PATIENCE = 600.0
_DOWN_PATIENCE = 60.0
_LOOK = 0.3  # seconds between two looks


@dataclass(frozen=True, slots=True)
class Ready:
    """A stack that answers."""

    url: str
    user: str
    password: str
    airflow_home: Path
    curl: str
    answers: Sequence[Answer]


def up(settings: Settings, display: Display, ready: Callable[[Ready], None], *, once: bool) -> None:
    """Start the stack, hand what it answers to ``ready``, and keep it up until a signal comes.

    Every process that was started is ended before this returns, or raises.

    Args:
        settings: what is set.
        display: where progress goes.
        ready: told when the questions are answered.
        once: do not keep it up.

    Raises:
        StackError: it cannot start; everything is down again.
        KeyboardInterrupt: Ctrl-C, SIGTERM or a closed terminal; everything is down again.
    """
    home = Home(settings.home)
    home.open()
    with home.hold(), _signals() as undisturbed:
        watcher = Supervisor(home.runs, home.logs)
        try:
            _rise(settings, home, watcher, display, ready)
            while not once:
                _keep_up(settings, home, watcher, display)
        finally:
            undisturbed()
            display.line("Stopping …")
            watcher.stop()
            postgres.stop(home.postgres)


def down(settings: Settings) -> bool:
    """Stop the stack that runs in this home, or what a killed one left; say if there was any."""
    home = Home(settings.home)
    if not home.is_ours():
        return False
    holder = home.holder()
    if holder is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder, signal.SIGTERM)
        deadline = time.monotonic() + _DOWN_PATIENCE
        while home.holder() is not None:
            if time.monotonic() > deadline:
                raise StackError(
                    "does not stop", subject=f"process {holder}", cure=f"kill -9 {holder}"
                )
            time.sleep(_LOOK)
    served = postgres.running(home.postgres)
    orphans = supervisor.heal(home.runs)
    postgres.stop(home.postgres)
    return holder is not None or served or orphans > 0


def reset(settings: Settings) -> bool:
    """Stop the stack and delete its home; say if there was one.

    Raises:
        StackError: the folder was not made by `sluice up`.
    """
    home = Home(settings.home)
    if not home.path.exists():
        return False
    if not home.is_ours():
        raise StackError(
            "was not made by `sluice up`, so it is left alone",
            subject=str(home.path),
            cure="Check SLUICE_HOME",
        )
    down(settings)
    postgres.remove(home.postgres)
    home.delete()
    return True


def _rise(
    settings: Settings,
    home: Home,
    watcher: Supervisor,
    display: Display,
    ready: Callable[[Ready], None],
) -> None:
    with display.phase("Checks") as say:
        _check(settings, home, say)
    with display.phase("PostgreSQL"):
        databases = database.start(settings, home)
        kept = home.open()
        database.create(databases, kept)
    with display.phase("Databases"):
        variables, key = _prepare(settings, home, kept, databases)
    url = airflow.url(settings)
    first = "sample" not in kept.done
    programs = airflow.programs(variables)
    with contextlib.closing(AirflowClient(url, airflow.LOGIN, kept.login)) as client:
        with display.phase("API server") as say:
            _start(watcher, programs, airflow.INGESTING if first else airflow.ANSWERING)
            tick = _ticker(watcher, "the API server", _AIRFLOW_PATIENCE, say)
            while not client.health():
                tick()
            client.sign_in()
        if first:
            with display.phase("Sample company") as say:
                sample.run(client, _ticker(watcher, "its DAGs", _SAMPLE_PATIENCE, say), say)
            home.mark_done("sample", "1")
        with display.phase("Two answers"):
            answers = sample.ask_all(url, key)
        curl = sample.curl(url, key, answers[-1].person)
        ready(Ready(url, airflow.LOGIN, kept.login, home.airflow, curl, answers))
        with display.phase("All programs") as say:
            _start(watcher, programs, programs)
            tick = _ticker(watcher, "Airflow", _AIRFLOW_PATIENCE, say)
            while waiting := _unwell(client):
                say(f"waiting for {', '.join(waiting)}")
                tick()


def _start(watcher: Supervisor, programs: Mapping[str, Program], names: Iterable[str]) -> None:
    for name in names:
        if not watcher.has(name):
            watcher.start(programs[name])


def _unwell(client: AirflowClient) -> list[str]:
    """Which of the programs behind the API have not reported that they are well."""
    health = client.health()
    return [name for name in airflow.REPORTING if health.get(name) != "healthy"]


def _check(settings: Settings, home: Home, say: Say) -> None:
    """Clear away what a killed run left, then see that the port is free."""
    orphans = supervisor.heal(home.runs)
    if orphans:
        say(f"{orphans} processes of a killed run ended")
    if postgres.listens(settings.port):
        who = processes.listener(settings.port)
        raise StackError(
            f"port {settings.port} is taken" + (f" by {who}" if who else ""),
            cure=f"Stop it, or choose another: SLUICE_PORT={settings.port + 1} make up",
        )


def _prepare(
    settings: Settings, home: Home, kept: Secrets, databases: Databases
) -> tuple[dict[str, str], str]:
    """Migrate both databases, at once, and seed the sample.

    Returns:
        The environment of Airflow's programs, and the sample agent's key.
    """
    home.write_env(
        {
            "SLUICE_CATALOG_URL": databases.catalog,
            "SLUICE_LANDING_URL": databases.landing,
            "HELPDESK_URL": databases.helpdesk,
            **({} if settings.master_keys else {"SLUICE_MASTER_KEYS": kept.master}),
        }
    )
    airflow.configure(settings, home, kept, databases)
    variables = airflow.environment(settings, home, databases)
    with ThreadPoolExecutor(1) as beside:
        migrated = None
        if kept.done.get("airflow") != airflow.version():
            migrated = beside.submit(airflow.migrate, variables, home.logs / "migrate.log")
        database.migrate_catalog(databases, kept)
        key = kept.agent_key
        if key is None:
            database.seed_helpdesk(databases.helpdesk)
            key = sample.create_key(databases.catalog, settings.tenant)
            home.save(replace(kept, agent_key=key))
        if migrated is not None:
            migrated.result()
            home.mark_done("airflow", airflow.version())
    return variables, key


def _ticker(watcher: Supervisor, what: str, patience: float, say: Say) -> Tick:
    """A pause that minds the programs, and gives up after ``patience`` seconds."""
    deadline = time.monotonic() + patience

    def tick() -> None:
        for death in watcher.check():
            say(death)
        watcher.require()
        if time.monotonic() > deadline:
            raise StackError(
                f"not ready after {patience:.0f} s", subject=what, cure=f"See {watcher.logs}"
            )
        time.sleep(_LOOK)

    return tick


def _keep_up(settings: Settings, home: Home, watcher: Supervisor, display: Display) -> None:
    """One look at everything that should be running."""
    if settings.database_url is None and not postgres.running(home.postgres):
        display.line("PostgreSQL died; it starts again.")
        kept = home.open()
        postgres.start(home.postgres, kept.administrator, port=kept.postgres_port)
    for death in watcher.check():
        display.line(death)
    time.sleep(_LOOK)


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], None]]:
    """Turn Ctrl-C, SIGTERM and a closed terminal into KeyboardInterrupt, until told to ignore."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    caught = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in caught}

    def ignore() -> None:
        for number in caught:
            signal.signal(number, signal.SIG_IGN)

    try:
        yield ignore
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
