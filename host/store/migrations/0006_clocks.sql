-- By which clock the times of a subject were written last: of which start of which machine, and how far its wall clock was
-- from the time since that start. Milliseconds.
CREATE TABLE clocks (
    subject   TEXT   PRIMARY KEY,
    boot      TEXT   NOT NULL,
    offset_ms BIGINT NOT NULL
);
