-- The daemons that use this database, and how their loops are doing.
CREATE TABLE daemons (
    host       TEXT   NOT NULL CHECK (host <> ''),
    pid        BIGINT NOT NULL,
    version    TEXT   NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    loops      TEXT   NOT NULL,
    left_out   BIGINT NOT NULL,
    PRIMARY KEY (host, pid)
);
