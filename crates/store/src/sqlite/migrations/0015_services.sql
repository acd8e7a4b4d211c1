-- Services of processes (docs/design/0034-services.md). All times are UTC microseconds since 1970.

CREATE TABLE taskwright_service (
    process    BLOB    NOT NULL,
    name       TEXT    NOT NULL,
    host       TEXT    NOT NULL,
    pid        INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    since      INTEGER NOT NULL,
    restarts   INTEGER NOT NULL,
    restart_at INTEGER,
    error      TEXT,
    error_at   INTEGER,
    seen_at    INTEGER NOT NULL,
    PRIMARY KEY (process, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX taskwright_service_seen ON taskwright_service (seen_at);
