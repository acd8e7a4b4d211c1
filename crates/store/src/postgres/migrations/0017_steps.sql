-- What steps of jobs gave (docs/design/0037-steps.md). All times are UTC microseconds since 1970.

CREATE TABLE step (
    seq     bigint  NOT NULL,
    at      bigint  NOT NULL,
    number  integer NOT NULL,
    attempt integer NOT NULL,
    name    text    NOT NULL,
    result  text    NOT NULL,
    PRIMARY KEY (seq, number)
);
