-- Attachments of jobs (docs/design/0033-attachments.md). All times are UTC microseconds since 1970.

CREATE TABLE taskwright_attachment (
    seq   INTEGER NOT NULL,
    name  TEXT    NOT NULL,
    owner TEXT,
    bytes INTEGER NOT NULL,
    sum   BLOB    NOT NULL,
    at    INTEGER NOT NULL,
    PRIMARY KEY (seq, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX taskwright_attachment_owner ON taskwright_attachment (owner, seq) WHERE owner IS NOT NULL;

-- Their bytes, in pieces of 256 KiB, numbered from 0.
CREATE TABLE taskwright_attachment_piece (
    seq    INTEGER NOT NULL,
    name   TEXT    NOT NULL,
    number INTEGER NOT NULL,
    bytes  BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX taskwright_attachment_piece_place ON taskwright_attachment_piece (seq, name, number);
