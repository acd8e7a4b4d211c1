-- Jobs that somebody asked to cancel while they ran (docs/design/0031-filters.md): the rows of `taskwright_running`, which know it until the
-- attempt ends, go with it. A job that is run once more has no row here.
CREATE TABLE taskwright_cancel_asked (
    seq INTEGER PRIMARY KEY
) STRICT;

-- By this key the place is sealed where a listing goes on, when the job that is there is nobody's business. One row.
CREATE TABLE taskwright_seal (
    single INTEGER PRIMARY KEY CHECK (single = 1),
    key    BLOB    NOT NULL
) STRICT;

INSERT INTO taskwright_seal VALUES (1, randomblob(32));
