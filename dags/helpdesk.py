"""# The help desk

Every ticket of the sample company's help desk: table `ticket` of database `helpdesk`, which
`sluice up` fills from `include/sample/helpdesk/`. Owner: support. A ticket is as readable as its
queue; table `queue_access` says who that is.

The DAG reads the tickets that changed since the last run, by `updated_at`, every hour, and lists
every id, so that deleted tickets and tickets that moved to another queue are noticed too.

## When something is wrong

- **`validate` failed: documents are gone.** More tickets vanished at once than the policy allows.
  Nothing was published; the old tickets keep answering. Meant? Trigger with *Publish a held load*.
  Not meant? Restore the table and trigger again.
- **`quarantined` is above 0 in `publish`.** Tickets without text, with impossible times, or in a
  queue of which nothing says who may read it. The rest went live. `sluice quarantine list` says
  why; mend the ticket or the queue's rules, and the next run takes it up.
- **`extract` failed: a column is gone.** One that this file names was dropped or renamed: name the
  new one here. Other changes of columns break nothing; `sluice status` lists them.
- **`extract` retries.** The database does not answer. It tries five times in all; after that, mend
  the database and clear the task.

**Data Docs** on the `validate` task shows what was checked, rule by rule.

## Reading again

`airflow backfill create --dag-id helpdesk --from-date 2026-01-05 --to-date 2026-01-06` reads the
tickets whose `updated_at` lies in that day once more, one run an hour. For a longer stretch,
**Trigger** with *Read again from*: one run for all of it. A second reading changes nothing that is
already right, and embeds nothing twice.
"""

from __future__ import annotations

from sluice.flows import ingest_dag  # Airflow looks for DAGs where a file says "airflow" and "dag"
from sluice.sources import SqlTable

dag = ingest_dag(
    SqlTable(
        name="helpdesk",
        url_env="HELPDESK_URL",
        table="ticket",
        key="id",
        title="subject",
        text=("body", "resolution"),
        cursor="updated_at",
        created="created_at",
        updated="updated_at",
        acl_column="queue",
        acl_query="SELECT queue, principal, effect, until FROM queue_access",
        uri_template="https://desk.junipervale.example/tickets/{id}",
    ),
    runbook=__doc__,
    schedule="@hourly",
    owner="support",
)
