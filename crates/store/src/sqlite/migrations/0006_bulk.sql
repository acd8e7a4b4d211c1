-- Bulk jobs: what a parent has besides (docs/design/0021-bulk-jobs.md).

-- definition and tally are JSON that is not read here; progress is that of the job. A row stays for as long as its job. The
-- generator is gone once the bulk is over.
CREATE TABLE taskwright_bulk (
    seq        INTEGER PRIMARY KEY,
    generator  INTEGER NOT NULL,
    namespace  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    definition TEXT    NOT NULL,
    tally      TEXT    NOT NULL,
    progress   TEXT    NOT NULL
) STRICT;
