-- Roll-ups: executions added up per minute (grain 0) and per hour (1); see docs/design/0023-roll-up-and-collectors.md. All times
-- are UTC microseconds since 1970.

-- body is JSON that is not read here: a RollUp of taskwright-core. at is when its span began.
CREATE TABLE taskwright_rollup (
    grain     INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    namespace TEXT    NOT NULL,
    queue     TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    body      TEXT    NOT NULL,
    PRIMARY KEY (grain, at, namespace, queue, kind)
) STRICT, WITHOUT ROWID;

-- What ended and is in no roll-up yet: a row per batch of ends, written with them, and taken away when it is rolled up. body
-- is JSON: what ended of each lane in each minute.
CREATE TABLE taskwright_slip (
    slip INTEGER PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

-- What a slip has to say of a running job, so that its end need not read the job: its lane, and since when it was available.
-- Missing where a program claimed it that knows of no roll-ups.
ALTER TABLE taskwright_running ADD COLUMN lane INTEGER;
ALTER TABLE taskwright_running ADD COLUMN ready_at INTEGER;
