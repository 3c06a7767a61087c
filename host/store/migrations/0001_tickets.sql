-- The same text runs on SQLite and PostgreSQL; on the latter BLOB is replaced by BYTEA.
-- Times are milliseconds since the Unix epoch, UTC. Booleans are 0 or 1.

CREATE TABLE counters (
    name  TEXT   PRIMARY KEY,
    value BIGINT NOT NULL
);

INSERT INTO counters (name, value) VALUES ('ticket', 0), ('event', 0), ('observation', 0);

-- The revision grows with every change to a subject's tickets, whoever makes it.
CREATE TABLE subjects (
    name     TEXT   PRIMARY KEY,
    revision BIGINT NOT NULL
);

CREATE TABLE tickets (
    id             BIGINT PRIMARY KEY,
    subject        TEXT   NOT NULL REFERENCES subjects (name),
    invariant      TEXT   NOT NULL CHECK (invariant <> ''),
    resource       TEXT   CHECK (resource <> ''),
    severity       TEXT   NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    state          TEXT   NOT NULL CHECK (state IN ('pending', 'open', 'recovering', 'resolved')),
    message        TEXT   NOT NULL,
    evidence       TEXT   NOT NULL,
    first_seen     BIGINT NOT NULL,
    violated_since BIGINT NOT NULL,
    last_seen      BIGINT NOT NULL,
    opened_at      BIGINT,
    holding_since  BIGINT,
    resolved_at    BIGINT,
    occurrences    BIGINT NOT NULL CHECK (occurrences >= 0),
    acknowledged   TEXT,
    held           TEXT,
    flapping       BIGINT NOT NULL CHECK (flapping IN (0, 1)),
    transitions    TEXT   NOT NULL,
    CHECK (state = 'pending' OR opened_at IS NOT NULL),
    CHECK (state <> 'resolved' OR resolved_at IS NOT NULL)
);

CREATE UNIQUE INDEX tickets_live
    ON tickets (subject, invariant, COALESCE(resource, ''))
    WHERE state <> 'resolved';
CREATE INDEX tickets_by_subject ON tickets (subject, state, resolved_at);

-- Numbered in the order of their commits, over all tickets.
CREATE TABLE ticket_events (
    n         BIGINT PRIMARY KEY,
    ticket_id BIGINT NOT NULL REFERENCES tickets (id) ON DELETE CASCADE,
    at        BIGINT NOT NULL,
    kind      TEXT   NOT NULL,
    actor     TEXT   NOT NULL,
    note      TEXT   NOT NULL
);

CREATE INDEX ticket_events_by_ticket ON ticket_events (ticket_id, n);

-- The body is the observation's JSON text, compressed with zstd.
CREATE TABLE observations (
    id          BIGINT PRIMARY KEY,
    subject     TEXT   NOT NULL,
    observed_at BIGINT NOT NULL,
    body        BLOB   NOT NULL
);

CREATE INDEX observations_by_subject ON observations (subject, observed_at);

CREATE TABLE ticket_observations (
    ticket_id      BIGINT NOT NULL REFERENCES tickets (id) ON DELETE CASCADE,
    observation_id BIGINT NOT NULL REFERENCES observations (id) ON DELETE CASCADE,
    PRIMARY KEY (ticket_id, observation_id)
);

CREATE INDEX ticket_observations_by_observation ON ticket_observations (observation_id);

CREATE TABLE quarantine (
    sha256 TEXT   PRIMARY KEY,
    plugin TEXT   NOT NULL,
    reason TEXT   NOT NULL,
    actor  TEXT   NOT NULL,
    at     BIGINT NOT NULL
);
