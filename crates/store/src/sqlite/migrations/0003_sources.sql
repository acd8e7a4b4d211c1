-- Event sources, and what they have seen (docs/design/0017-sources.md). All times are UTC microseconds since 1970.

-- A source at its place. host is empty for one that all machines see alike. mode is NULL until somebody says how it is.
CREATE TABLE taskwright_source (
    source     INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    host       TEXT    NOT NULL,
    path       TEXT    NOT NULL,
    noted_at   INTEGER NOT NULL,
    mode       TEXT,
    scanned_at INTEGER,
    files      INTEGER NOT NULL DEFAULT 0,
    error      TEXT,
    UNIQUE (namespace, name, host, path)
) STRICT;

-- What each file looked like when it was last dealt with: bytes that are only compared here.
CREATE TABLE taskwright_seen (
    source INTEGER NOT NULL,
    path   TEXT    NOT NULL,
    print  BLOB    NOT NULL,
    PRIMARY KEY (source, path)
) STRICT, WITHOUT ROWID;
