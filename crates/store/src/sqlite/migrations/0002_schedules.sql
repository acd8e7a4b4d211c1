-- Schedules, what they fired, and events (docs/design/0014-firing.md). All times are UTC microseconds since 1970.

-- definition and state are JSON that is not read here. next is when somebody has to look at it. Keys are never used again.
CREATE TABLE taskwright_schedule (
    schedule   INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace  TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    next       INTEGER,
    listens    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    definition TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    UNIQUE (namespace, name)
) STRICT;

CREATE INDEX taskwright_schedule_next ON taskwright_schedule (next, schedule) WHERE next IS NOT NULL;
CREATE INDEX taskwright_schedule_listens ON taskwright_schedule (schedule) WHERE listens;

-- What a schedule fired (kind, job, coalesced) or skipped (skipped_to, skipped_count, is_exact, reason). event is an empty
-- blob where none fired it, so that the index below sees two of these as the same.
CREATE TABLE taskwright_firing (
    firing        INTEGER PRIMARY KEY AUTOINCREMENT,
    schedule      INTEGER NOT NULL,
    decided_at    INTEGER NOT NULL,
    trigger_id    TEXT,
    due           INTEGER NOT NULL,
    previous_due  INTEGER,
    event         BLOB    NOT NULL,
    kind          TEXT,
    job           BLOB,
    coalesced     INTEGER NOT NULL DEFAULT 0,
    skipped_to    INTEGER,
    skipped_count INTEGER,
    is_exact      INTEGER,
    reason        TEXT
) STRICT;

CREATE INDEX taskwright_firing_schedule ON taskwright_firing (schedule, firing);
CREATE INDEX taskwright_firing_job ON taskwright_firing (job) WHERE job IS NOT NULL;

-- An occurrence makes one job, whatever else says that it is due: a due time, whichever trigger says so, and an event, for each
-- trigger that it fires.
CREATE UNIQUE INDEX taskwright_firing_once ON taskwright_firing (schedule, due)
    WHERE kind IS NOT NULL AND trigger_id IS NOT NULL AND event = x'';
CREATE UNIQUE INDEX taskwright_firing_of_event ON taskwright_firing (schedule, event, trigger_id)
    WHERE kind IS NOT NULL AND event > x'';

CREATE TABLE taskwright_event (
    event      INTEGER PRIMARY KEY AUTOINCREMENT,
    id         BLOB    NOT NULL,
    namespace  TEXT    NOT NULL,
    topic      TEXT    NOT NULL,
    key        TEXT,
    emitted_at INTEGER NOT NULL,
    payload    BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX taskwright_event_id ON taskwright_event (id);

-- Events that have not been offered to the schedules.
CREATE TABLE taskwright_undelivered (
    event INTEGER PRIMARY KEY
) STRICT;

-- Kinds whose ends in a state are told as events, for which schedule; an empty kind stands for any.
CREATE TABLE taskwright_interest (
    state     INTEGER NOT NULL,
    namespace TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    schedule  INTEGER NOT NULL,
    PRIMARY KEY (state, namespace, kind, schedule)
) STRICT, WITHOUT ROWID;
