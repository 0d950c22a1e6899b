-- The help desk of Juniper & Vale: its tickets, and who may read each queue.
--
-- tickets-*.jsonl holds the rows of `ticket`, one JSON object a line; queues.yaml those of
-- `queue_access`.

CREATE TABLE IF NOT EXISTS ticket (
    id          bigint      PRIMARY KEY,
    queue       text        NOT NULL,
    subject     text        NOT NULL,
    body        text        NOT NULL,
    resolution  text,                       -- null until solved
    status      text        NOT NULL CHECK (status IN ('open', 'pending', 'solved', 'closed')),
    priority    text        NOT NULL CHECK (priority IN ('low', 'normal', 'high', 'urgent')),
    customer    text        NOT NULL,
    station     text,                       -- null when the ticket is not about one station
    assignee    text        NOT NULL,       -- a help desk account number: people.yaml, accounts.helpdesk
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CHECK (updated_at >= created_at)
);

CREATE INDEX IF NOT EXISTS ticket_updated_at ON ticket (updated_at);

-- `until` is null for a rule without an end; past that moment the rule no longer counts.
CREATE TABLE IF NOT EXISTS queue_access (
    queue      text        NOT NULL,
    principal  text        NOT NULL,        -- group:company:…, user:…, or account:helpdesk:<number>
    effect     text        NOT NULL CHECK (effect IN ('allow', 'deny')),
    until      timestamptz,
    UNIQUE (queue, principal, effect)
);
