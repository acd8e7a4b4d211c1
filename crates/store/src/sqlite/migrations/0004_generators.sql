-- Generators, and which jobs are items of theirs (docs/design/0019-generators.md). All times are UTC microseconds since 1970.

-- definition, record and state are JSON that is not read here. next is when somebody has to look at it: while it is taken, the
-- end of the lease. notices counts those that were given to it. best is the best priority of its items; listens says whether there are
-- topics of events that notify it. Keys are never used again.
CREATE TABLE taskwright_generator (
    generator   INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace   TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    fence       INTEGER NOT NULL,
    notices     INTEGER NOT NULL,
    paused      INTEGER NOT NULL,
    best        INTEGER NOT NULL,
    listens     INTEGER NOT NULL,
    next        INTEGER,
    lease_until INTEGER,
    created_at  INTEGER NOT NULL,
    changed_at  INTEGER NOT NULL,
    definition  TEXT    NOT NULL,
    record      TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    UNIQUE (namespace, name)
) STRICT;

CREATE INDEX taskwright_generator_next ON taskwright_generator (next, generator) WHERE next IS NOT NULL;
CREATE INDEX taskwright_generator_listens ON taskwright_generator (listens, generator) WHERE listens <> 0;

-- The outstanding items: jobs whose ends the generator has not been told of. No more than its window.
CREATE TABLE taskwright_item (
    generator INTEGER NOT NULL,
    job       BLOB    NOT NULL,
    key       TEXT,
    PRIMARY KEY (generator, job)
) STRICT, WITHOUT ROWID;
