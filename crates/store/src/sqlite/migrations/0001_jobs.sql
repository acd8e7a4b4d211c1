-- The jobs. Where a job is, is where it has a row besides its own:
--
--   taskwright_ready    it is available
--   taskwright_waiting  it is held, blocked, scheduled or retryable
--   taskwright_running  it is running
--   taskwright_over     it failed, was cancelled or was dropped
--   taskwright_block    it is running, with others that one claim took
--   none of these       it is completed
--
-- What a claim took is kept once for all that it took, in a block, and what was completed together is one completion.
-- docs/design/0001-storage-shape.md says why, with the arithmetic. All times are UTC microseconds since 1970.

CREATE TABLE taskwright_queue (
    queue     INTEGER PRIMARY KEY,
    namespace TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    paused    INTEGER NOT NULL DEFAULT 0,
    UNIQUE (namespace, name)
) STRICT;

-- Jobs that only order tells apart: same queue, kind and priority. A lane is chosen or passed over as a whole, so that
-- a paused queue, or a kind that nobody here can run, costs a claim nothing however much of it there is.
-- Rows are never changed and never removed.
CREATE TABLE taskwright_lane (
    lane     INTEGER PRIMARY KEY,
    queue    INTEGER NOT NULL,
    kind     TEXT    NOT NULL,
    priority INTEGER NOT NULL,
    UNIQUE (queue, kind, priority)
) STRICT;

-- The next seq. AUTOINCREMENT would do the same at the cost of a write per statement.
CREATE TABLE taskwright_counter (
    name  TEXT    PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO taskwright_counter (name, value) VALUES ('seq', 1);

-- seq is never used again, not even after a deletion: it is part of the fence.
-- run_at is when the job became, or becomes, available.
-- attempts_base is how many attempts had been spent when it was run again on request.
CREATE TABLE taskwright_job (
    seq           INTEGER PRIMARY KEY,
    id            BLOB    NOT NULL,
    lane          INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    run_at        INTEGER NOT NULL,
    max_attempts  INTEGER NOT NULL,
    at_most_once  INTEGER NOT NULL,
    owner         TEXT,
    backoff       TEXT,
    timeout_us    INTEGER,
    args          BLOB    NOT NULL,
    first_state   INTEGER NOT NULL,
    attempts_base INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE UNIQUE INDEX taskwright_job_id ON taskwright_job (id);
CREATE INDEX taskwright_job_lane ON taskwright_job (lane);

-- attempts is how many have been spent; flags has bit 0 set while the job holds a unique key.
CREATE TABLE taskwright_ready (
    lane     INTEGER NOT NULL,
    ready_at INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    flags    INTEGER NOT NULL,
    PRIMARY KEY (lane, ready_at, seq)
) STRICT, WITHOUT ROWID;

-- due is when the job is promoted, or when a held one is dropped; NULL for a blocked one.
CREATE TABLE taskwright_waiting (
    seq      INTEGER PRIMARY KEY,
    state    INTEGER NOT NULL,
    due      INTEGER,
    attempts INTEGER NOT NULL,
    flags    INTEGER NOT NULL
) STRICT;

CREATE INDEX taskwright_waiting_due ON taskwright_waiting (due) WHERE due IS NOT NULL;
CREATE INDEX taskwright_waiting_state ON taskwright_waiting (state);

-- Jobs that run on their first attempt, as one claim took them: the numbers from lo to hi, both included, which follow each
-- other. A claim makes a row for each such run of numbers, mostly one. No number is in two rows. None of these jobs holds a
-- unique key, and nobody has asked for a cancel of one. lane and ready_at are what ready said of them, where it said the same of
-- all, so that their ends need not read the jobs; otherwise NULL.
CREATE TABLE taskwright_block (
    lo         INTEGER PRIMARY KEY,
    hi         INTEGER NOT NULL,
    worker     INTEGER NOT NULL,
    claimed_at INTEGER NOT NULL,
    lane       INTEGER,
    ready_at   INTEGER
) STRICT;

-- First attempts that one worker claimed in one moment and completed together, and that left nothing behind but their times:
-- the numbers from lo to hi, both included, and for each, in their order, when it started and when it ended, in microseconds
-- after claimed_at, as big-endian integers of 32 bits. No number is in two rows, and each is that of a job that is still there.
CREATE TABLE taskwright_completion (
    lo         INTEGER PRIMARY KEY,
    hi         INTEGER NOT NULL,
    worker     INTEGER NOT NULL,
    claimed_at INTEGER NOT NULL,
    times      BLOB    NOT NULL
) STRICT;

-- The others that run.
CREATE TABLE taskwright_running (
    seq           INTEGER PRIMARY KEY,
    worker        INTEGER NOT NULL,
    attempt       INTEGER NOT NULL,
    claimed_at    INTEGER NOT NULL,
    flags         INTEGER NOT NULL,
    cancel_at     INTEGER,
    cancel_actor  TEXT,
    cancel_reason TEXT,
    progress      TEXT
) STRICT;

CREATE INDEX taskwright_running_cancel ON taskwright_running (worker) WHERE cancel_at IS NOT NULL;

CREATE TABLE taskwright_over (
    seq      INTEGER PRIMARY KEY,
    state    INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    reason   TEXT
) STRICT;

CREATE INDEX taskwright_over_state ON taskwright_over (state);

-- One execution, unless it is in a completion. moved_to is the state that the job went to at its end.
CREATE TABLE taskwright_attempt (
    seq        INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    worker     INTEGER NOT NULL,
    claimed_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at   INTEGER NOT NULL,
    outcome    INTEGER NOT NULL,
    moved_to   INTEGER NOT NULL,
    error      TEXT,
    usage      TEXT,
    result     TEXT,
    PRIMARY KEY (seq, attempt)
) STRICT, WITHOUT ROWID;

-- Moves that no attempt tells of: cancels, retries on request, give-backs and the like. attempts is how many had been
-- spent by then, with the one that ran: where the move stands among those that attempts tell of.
CREATE TABLE taskwright_move (
    move     INTEGER PRIMARY KEY,
    seq      INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    cause    INTEGER,
    state    INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    actor    TEXT    NOT NULL,
    reason   TEXT
) STRICT;

CREATE INDEX taskwright_move_seq ON taskwright_move (seq);

CREATE TABLE taskwright_log (
    seq     INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    stream  INTEGER NOT NULL,
    bytes   BLOB    NOT NULL,
    PRIMARY KEY (seq, number)
) STRICT, WITHOUT ROWID;

-- scope: 1 until claimed, 2 until over.
CREATE TABLE taskwright_unique (
    namespace TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    seq       INTEGER NOT NULL,
    scope     INTEGER NOT NULL,
    PRIMARY KEY (namespace, kind, key)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX taskwright_unique_seq ON taskwright_unique (seq);

-- Keys that were released, for jobs that are run again on request: those take theirs once more.
CREATE TABLE taskwright_unique_past (
    seq       INTEGER PRIMARY KEY,
    namespace TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    scope     INTEGER NOT NULL
) STRICT;

-- boot tells one run of the machine from the next: monotonic times of another boot mean nothing.
-- Rows of workers that are gone are kept while an attempt may name them.
CREATE TABLE taskwright_worker (
    worker         INTEGER PRIMARY KEY,
    id             BLOB    NOT NULL UNIQUE,
    host           TEXT    NOT NULL,
    pid            INTEGER NOT NULL,
    boot           TEXT    NOT NULL,
    state          INTEGER NOT NULL,
    told           INTEGER,
    concurrency    INTEGER NOT NULL,
    queues         TEXT    NOT NULL,
    lease_us       INTEGER NOT NULL,
    lease_until_us INTEGER NOT NULL,
    started_at     INTEGER NOT NULL,
    seen_at        INTEGER NOT NULL,
    forgotten      INTEGER NOT NULL DEFAULT 0,
    remark         TEXT
) STRICT;

CREATE INDEX taskwright_worker_state ON taskwright_worker (state);
