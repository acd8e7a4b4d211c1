-- Moves of jobs, for those who follow them (docs/design/0032-a-stream-of-jobs.md). What most jobs do is followed by the numbers of
-- rows that are appended anyway: of job, block, completion and move. Of the rest a note is taken, while somebody listens. All times
-- are UTC microseconds since 1970, by this server's clock.

-- One row: since when somebody has listened without a break, and until when the lease of whoever did so last runs. Unlogged, as the
-- notes are: after a crash nobody has listened.
CREATE UNLOGGED TABLE listening (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    since    bigint  NOT NULL,
    until_db bigint  NOT NULL
);

CREATE UNLOGGED TABLE moved (
    moved bigint         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at    bigint         NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
    seqs  int8multirange NOT NULL
);

-- As before, and notes that these attempts ended.
CREATE OR REPLACE FUNCTION leave_slips() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    INSERT INTO slip (lane, claimed_at, started_at, ended_at, run_at, previous_end, outcome)
    SELECT j.lane, e.claimed_at, e.started_at, e.ended_at, j.run_at,
           CASE WHEN e.attempt > 1 THEN (
               SELECT p.ended_at FROM attempt p WHERE p.seq = e.seq AND p.attempt = e.attempt - 1) END,
           e.outcome
    FROM ended e CROSS JOIN LATERAL (SELECT lane, run_at FROM job WHERE job.seq = e.seq LIMIT 1) j;
    IF EXISTS (SELECT FROM listening l WHERE l.until_db > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) THEN
        INSERT INTO moved (seqs) SELECT range_agg(int8range(e.seq, e.seq + 1)) FROM ended e HAVING count(*) > 0;
    END IF;
    RETURN NULL;
END
$$;

-- As before, and notes that these jobs were claimed.
CREATE OR REPLACE FUNCTION take_sorted(me bigint, in_lane bigint, most bigint, at bigint)
RETURNS SETOF claimed
LANGUAGE plpgsql AS $$
BEGIN
    -- Whoever moves a job by hand locks its row of ready only: what is locked is passed over.
    RETURN QUERY
    WITH chosen AS MATERIALIZED (
        SELECT r.lane, r.ready_at, r.seq FROM ready r WHERE r.lane = in_lane
        ORDER BY r.lane, r.ready_at, r.seq LIMIT most FOR UPDATE SKIP LOCKED),
    taken AS (
        DELETE FROM ready r USING chosen c WHERE r.lane = c.lane AND r.ready_at = c.ready_at AND r.seq = c.seq
        RETURNING r.seq, r.ready_at, r.attempts, r.flags),
    freed AS (
        -- A key of scope `waiting` ends with the claim.
        DELETE FROM unique_key u USING taken t WHERE t.flags <> 0 AND u.seq = t.seq AND u.scope = 1
        RETURNING u.seq, u.namespace, u.kind, u.key, u.scope),
    past AS (
        INSERT INTO unique_past (seq, namespace, kind, key, scope)
        SELECT f.seq, f.namespace, f.kind, f.key, f.scope FROM freed f),
    run AS (
        INSERT INTO running (seq, worker, attempt, claimed_at, flags)
        SELECT t.seq, me, t.attempts + 1, at, CASE WHEN f.seq IS NULL THEN t.flags ELSE 0 END
        FROM taken t LEFT JOIN freed f ON f.seq = t.seq),
    noted AS (
        INSERT INTO moved (seqs) SELECT range_agg(int8range(t.seq, t.seq + 1)) FROM taken t
        WHERE EXISTS (SELECT FROM listening l WHERE l.until_db > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
        HAVING count(*) > 0)
    SELECT t.seq, 0::bigint, in_lane, t.attempts, j.id, j.created_at, t.ready_at, j.max_attempts, j.attempts_base,
           j.at_most_once, j.owner, j.backoff, j.timeout_us, j.args
    FROM taken t CROSS JOIN LATERAL (SELECT * FROM job WHERE job.seq = t.seq LIMIT 1) j
    ORDER BY t.ready_at, t.seq;
END
$$;

-- As before, and notes that these jobs run: who looks at blocks now and then may not have seen them in theirs.
CREATE OR REPLACE FUNCTION set_apart(which bigint[], of_worker bigint) RETURNS SETOF bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    emptied bigint[];
BEGIN
    -- Somebody may be taking one of them out at this moment; what follows sees what is left.
    PERFORM FROM block b WHERE b.block IN (
            SELECT h.block FROM unnest(which) AS t (seq) CROSS JOIN LATERAL (
                SELECT b.block FROM block b WHERE b.seqs @> t.seq AND (of_worker IS NULL OR b.worker = of_worker) LIMIT 1) h)
        ORDER BY b.block FOR UPDATE;

    WITH hit AS MATERIALIZED (
        SELECT b.block, array_agg(t.seq) AS seqs, range_agg(int8range(t.seq, t.seq + 1)) AS ranges
        FROM (SELECT DISTINCT unnest(which)) AS t (seq) CROSS JOIN LATERAL (
            SELECT b.block FROM block b WHERE b.seqs @> t.seq AND (of_worker IS NULL OR b.worker = of_worker) LIMIT 1) b
        GROUP BY b.block),
    cut AS (
        UPDATE block b SET seqs = b.seqs - hit.ranges FROM hit WHERE b.block = hit.block
        RETURNING b.block, b.worker, b.claimed_at, hit.seqs, isempty(b.seqs) AS is_empty),
    apart AS (
        INSERT INTO running (seq, worker, attempt, claimed_at, flags)
        SELECT s, cut.worker, 1, cut.claimed_at, 0 FROM cut CROSS JOIN LATERAL unnest(cut.seqs) AS s),
    noted AS (
        INSERT INTO moved (seqs) SELECT range_agg(int8range(s, s + 1)) FROM cut CROSS JOIN LATERAL unnest(cut.seqs) AS s
        WHERE EXISTS (SELECT FROM listening l WHERE l.until_db > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
        HAVING count(*) > 0)
    SELECT array_agg(cut.block) FILTER (WHERE cut.is_empty) INTO emptied FROM cut;

    DELETE FROM block b WHERE b.block = ANY (emptied);

    RETURN QUERY SELECT x.seq FROM running x
        WHERE x.seq = ANY (which) AND (of_worker IS NULL OR x.worker = of_worker);
END
$$;
