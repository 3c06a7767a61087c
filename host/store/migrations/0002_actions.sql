-- What people and programs want done to subjects, what was done, and the record of all of it.

-- 'kill_switch' counts how often it was engaged: whoever runs something sees that it was, even if it is lifted at once.
INSERT INTO counters (name, value) VALUES ('proposal', 0), ('gate', 0), ('kill_switch', 0);

-- What a person chose while the operator runs; where there is no row, the configuration counts. '*' is every subject.
CREATE TABLE modes (
    subject TEXT   PRIMARY KEY,
    mode    TEXT   NOT NULL CHECK (mode IN ('observe', 'execute')),
    mark    TEXT   NOT NULL
);

-- A row means that it is engaged.
CREATE TABLE kill_switch (
    id   BIGINT PRIMARY KEY CHECK (id = 1),
    mark TEXT   NOT NULL
);

CREATE TABLE proposals (
    id          BIGINT PRIMARY KEY,
    subject     TEXT   NOT NULL,
    ticket_id   BIGINT,
    call_key    TEXT   NOT NULL,
    plan        TEXT   NOT NULL,
    risk        TEXT   NOT NULL CHECK (risk IN ('low', 'medium', 'high')),
    state       TEXT   NOT NULL CHECK (state IN ('proposed', 'validated', 'approved', 'rejected', 'executing',
                    'completed', 'failed', 'outcome_unknown', 'cancelled', 'verified', 'not_verified')),
    proposed    TEXT   NOT NULL,
    proposed_at BIGINT NOT NULL,
    note        TEXT   NOT NULL,
    not_before  BIGINT,
    follows     BIGINT REFERENCES proposals (id),
    undoes      BIGINT REFERENCES proposals (id),
    approval    TEXT,
    held_back   TEXT,
    step        BIGINT NOT NULL CHECK (step >= 0),
    attempt     BIGINT NOT NULL CHECK (attempt >= 0),
    owner       TEXT,
    lease_until BIGINT,
    begun_at    BIGINT,
    ended_at    BIGINT,
    proof       TEXT,
    half_done   BIGINT NOT NULL CHECK (half_done IN (0, 1)),
    settled     TEXT,
    CHECK (state <> 'approved' OR approval IS NOT NULL),
    CHECK ((state = 'executing') = (owner IS NOT NULL)),
    CHECK ((state = 'executing') = (lease_until IS NOT NULL))
);

CREATE INDEX proposals_by_state ON proposals (state, subject);
CREATE INDEX proposals_by_undone ON proposals (undoes);
CREATE INDEX proposals_by_ticket ON proposals (ticket_id);

-- One row per call of an action or a tool, written before the call. Without an end it is not known what it did.
CREATE TABLE executions (
    id          TEXT   PRIMARY KEY,
    proposal_id BIGINT NOT NULL REFERENCES proposals (id) ON DELETE CASCADE,
    step        BIGINT NOT NULL,
    attempt     BIGINT NOT NULL,
    subject     TEXT   NOT NULL,
    action      TEXT   NOT NULL,
    params      TEXT   NOT NULL,
    resources   TEXT   NOT NULL,
    is_tool     BIGINT NOT NULL CHECK (is_tool IN (0, 1)),
    begun_at    BIGINT NOT NULL,
    ended_at    BIGINT,
    outcome     TEXT   CHECK (outcome IN ('done', 'failed', 'unknown')),
    message     TEXT,
    details     TEXT,
    CHECK ((ended_at IS NULL) = (outcome IS NULL))
);

-- One call of one step at a time, and each attempt once.
CREATE UNIQUE INDEX executions_once ON executions (proposal_id, step, attempt, action);
CREATE INDEX executions_by_subject ON executions (subject, begun_at);

-- Append-only. Each row's hash covers the row and the hash before it.
CREATE TABLE audit (
    n           BIGINT PRIMARY KEY,
    at          BIGINT NOT NULL,
    actor       TEXT   NOT NULL,
    event       TEXT   NOT NULL,
    subject     TEXT   NOT NULL,
    proposal_id BIGINT,
    ticket_id   BIGINT,
    body        TEXT   NOT NULL,
    previous    TEXT   NOT NULL,
    hash        TEXT   NOT NULL
);

CREATE INDEX audit_by_ticket ON audit (ticket_id, n);
CREATE INDEX audit_by_proposal ON audit (proposal_id, n);

-- Where the chain ends, so that rows cut off its end are missed.
CREATE TABLE audit_head (
    id   BIGINT PRIMARY KEY CHECK (id = 1),
    n    BIGINT NOT NULL,
    hash TEXT   NOT NULL
);

INSERT INTO audit_head (id, n, hash) VALUES (1, 0, '');
