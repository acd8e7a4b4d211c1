-- What steps of jobs gave (docs/design/0037-steps.md). All times are UTC microseconds since 1970.

CREATE TABLE taskwright_step (
    seq     INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    name    TEXT    NOT NULL,
    result  TEXT    NOT NULL,
    PRIMARY KEY (seq, number)
) STRICT, WITHOUT ROWID;
