-- Attachments of jobs (docs/design/0033-attachments.md). All times are UTC microseconds since 1970.

CREATE TABLE attachment (
    seq   bigint  NOT NULL,
    bytes bigint  NOT NULL,
    at    bigint  NOT NULL,
    name  text    NOT NULL,
    owner text,
    sum   bytea   NOT NULL,
    PRIMARY KEY (seq, name)
);

CREATE INDEX attachment_owner ON attachment (owner, seq) WHERE owner IS NOT NULL;

-- Their bytes, in pieces of 256 KiB, numbered from 0; as they are, since what is large mostly is compressed already.
CREATE TABLE attachment_piece (
    seq    bigint  NOT NULL,
    number integer NOT NULL,
    name   text    NOT NULL,
    bytes  bytea   NOT NULL,
    PRIMARY KEY (seq, name, number)
);

ALTER TABLE attachment_piece ALTER COLUMN bytes SET STORAGE EXTERNAL;
