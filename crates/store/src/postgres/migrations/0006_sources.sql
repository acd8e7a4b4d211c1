-- Event sources, and what they have seen (docs/design/0017-sources.md). All times are UTC microseconds since 1970.

-- A source at its place. host is empty for one that all machines see alike. mode is null until somebody says how it is.
CREATE TABLE source (
    source     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    noted_at   bigint NOT NULL,
    scanned_at bigint,
    files      bigint NOT NULL DEFAULT 0,
    namespace  text   NOT NULL,
    name       text   NOT NULL,
    host       text   NOT NULL,
    path       text   NOT NULL,
    mode       text,
    error      text
);

CREATE UNIQUE INDEX source_place ON source (namespace, name, host, path);

-- What each file looked like when it was last dealt with: bytes that are only compared here. Paths are ordered by their bytes.
CREATE TABLE seen (
    source bigint NOT NULL,
    path   text   COLLATE "C" NOT NULL,
    print  bytea  NOT NULL,
    PRIMARY KEY (source, path)
);
