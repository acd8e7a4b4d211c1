-- Roll-ups: executions added up per minute (grain 0) and per hour (1); see docs/design/0023-roll-up-and-collectors.md. All times
-- are UTC microseconds since 1970.

-- body is JSON that is not read here: a RollUp of taskwright-core. at is when its span began. Rows of this minute and this hour
-- are written again and again: each page has room for second versions of its rows.
CREATE TABLE rollup (
    grain     smallint NOT NULL,
    at        bigint   NOT NULL,
    namespace text     NOT NULL,
    queue     text     NOT NULL,
    kind      text     NOT NULL,
    body      text     NOT NULL,
    PRIMARY KEY (grain, at, namespace, queue, kind)
) WITH (fillfactor = 70);

-- Ends of attempts that are in no roll-up yet, but for those in completions: written with the end, and taken away when it is
-- rolled up. It holds what a roll-up wants to know, so that the job may be removed meanwhile.
CREATE TABLE slip (
    slip         bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane         bigint   NOT NULL,
    claimed_at   bigint   NOT NULL,
    started_at   bigint,
    ended_at     bigint   NOT NULL,
    run_at       bigint   NOT NULL,
    previous_end bigint,
    outcome      smallint NOT NULL
);

-- A completion is its own slip: those up to `completion` are in roll-ups, but for jobs that were removed before, of which there is
-- a row in `slip`. Numbers are given before a transaction commits, so that lower ones may yet come: up to `sure_to` none does
-- any more. That will be so up to `mark_to` once every transaction with an id below `mark_xid` has ended. One row, which whoever
-- rolls up locks.
CREATE TABLE rolled (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    completion bigint  NOT NULL,
    sure_to    bigint  NOT NULL,
    mark_to    bigint,
    mark_xid   xid8
);

-- What ended before there were roll-ups is in none.
INSERT INTO rolled (completion, sure_to)
SELECT coalesce(max(completion), 0), coalesce(max(completion), 0) FROM completion;

-- Attempts with a row of their own: those that leave more behind than their times. Not on the way of most jobs.
CREATE FUNCTION leave_slips() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    INSERT INTO slip (lane, claimed_at, started_at, ended_at, run_at, previous_end, outcome)
    SELECT j.lane, e.claimed_at, e.started_at, e.ended_at, j.run_at,
           CASE WHEN e.attempt > 1 THEN (
               SELECT p.ended_at FROM attempt p WHERE p.seq = e.seq AND p.attempt = e.attempt - 1) END,
           e.outcome
    FROM ended e CROSS JOIN LATERAL (SELECT lane, run_at FROM job WHERE job.seq = e.seq LIMIT 1) j;
    RETURN NULL;
END
$$;

CREATE TRIGGER leave_slips AFTER INSERT ON attempt REFERENCING NEW TABLE AS ended
    FOR EACH STATEMENT EXECUTE FUNCTION leave_slips();
