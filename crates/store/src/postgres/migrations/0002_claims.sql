-- The hot path, as functions: a claim and a batch of completions are one message, one transaction and one flush each, and
-- a lane is locked for no longer than the server takes.
--
-- Their plans are generic ones, made once per session, and hold to the indexes: a session sets enable_seqscan and the like
-- (see connect.rs), so that a plan that was made while a table was empty is right when it is full. Where two indexes could
-- serve, the conditions are such that only the right one can: statistics that were taken during a large fill say that the
-- other one is next to empty.

-- The transactions that a snapshot sees, as the gaps between those that it does not: everything between lo and hi, both
-- excluded, has ended. What lies beyond the last hi began after the snapshot.
CREATE VIEW gap AS
    SELECT coalesce(lag(hi) OVER (ORDER BY hi), '0'::xid8) AS lo, hi
    FROM (SELECT pg_snapshot_xip(pg_current_snapshot()) AS hi
          UNION ALL SELECT pg_snapshot_xmax(pg_current_snapshot())) t
    ORDER BY hi;

-- The jobs that run on their first attempt, as a claim gave them out of a stream.
CREATE VIEW held AS
    SELECT b.block, b.worker, b.lane, b.claimed_at, s AS seq
    FROM block b CROSS JOIN LATERAL unnest(b.seqs) AS r
         CROSS JOIN LATERAL generate_series(lower(r), upper(r) - 1) AS s;

-- At which place a number stands among others, from 0.
CREATE FUNCTION place_in(numbers int8multirange, number bigint) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT (sum(least(upper(r), number + 1) - lower(r)) - 1)::integer FROM unnest(numbers) AS r WHERE lower(r) <= number;
$$;

-- When the job at a place of a completion started (which = 0) or ended (which = 1), in microseconds after the claim.
CREATE FUNCTION time_at(times bytea, place integer, which integer) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT ('x' || encode(substring(times FROM place * 8 + which * 4 + 1 FOR 4), 'hex'))::bit(32)::integer;
$$;

-- Numbers of jobs as ranges, those near each other together: what is looked up by one of these in an index of ranges does not
-- walk over all that lies between numbers that are far apart.
CREATE FUNCTION spans(numbers bigint[]) RETURNS TABLE (span int8multirange)
LANGUAGE sql IMMUTABLE AS $$
    SELECT range_agg(int8range(n, n + 1)) FROM unnest(numbers) AS t (n) GROUP BY n / 1024;
$$;

-- What is left of every lane's stream.
CREATE VIEW stream AS
    SELECT l.lane, j.xid, j.seq, j.run_at
    FROM lane l
        CROSS JOIN LATERAL (
            SELECT h.xid, h.seq, h.late_xid, h.late_seq FROM lane_head h WHERE h.lane = l.lane ORDER BY h.n DESC LIMIT 1) h
        CROSS JOIN LATERAL (
            SELECT job.xid, job.seq, job.run_at FROM job
            WHERE job.is_streamed AND job.lane = l.lane AND (job.xid, job.seq) > (h.xid, h.seq)
            UNION ALL
            SELECT job.xid, job.seq, job.run_at FROM unnest(h.late_xid, h.late_seq) AS late (xid, seq) JOIN job
                ON job.is_streamed AND job.lane = l.lane
                    AND (job.xid, job.seq) > (late.xid, late.seq) AND job.xid <= late.xid) j;

-- The next jobs of the stream of a lane, at most `most`, in order: those of late transactions that have ended, then those
-- behind the head. Rows of transactions that have not ended are not even looked at, however many they are.
CREATE FUNCTION upcoming(in_lane bigint, most bigint) RETURNS SETOF job
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY
    WITH head AS MATERIALIZED (
        SELECT h.xid, h.seq, h.late_xid, h.late_seq FROM lane_head h WHERE h.lane = in_lane ORDER BY h.n DESC LIMIT 1)
    SELECT * FROM (
        (SELECT j.* FROM head CROSS JOIN LATERAL unnest(head.late_xid, head.late_seq) AS late (xid, seq)
            CROSS JOIN LATERAL (
                SELECT * FROM job
                WHERE job.is_streamed AND job.lane = in_lane
                    AND (job.xid, job.seq) > (late.xid, late.seq) AND job.xid <= late.xid
                ORDER BY job.lane, job.xid, job.seq LIMIT most) j
         WHERE pg_visible_in_snapshot(late.xid, pg_current_snapshot()))
        UNION ALL
        (SELECT j.* FROM head CROSS JOIN gap CROSS JOIN LATERAL (
                SELECT * FROM job
                WHERE job.is_streamed AND job.lane = in_lane AND job.xid < gap.hi
                    AND (job.xid, job.seq) > (greatest(gap.lo, head.xid),
                                              CASE WHEN gap.lo >= head.xid THEN 9223372036854775807 ELSE head.seq END)
                ORDER BY job.lane, job.xid, job.seq LIMIT most) j
         WHERE gap.hi > head.xid)) j
    LIMIT most;
END
$$;

-- A job as a claim gives it. block is 0 for one that has a row in running; spent is how many attempts were spent before.
CREATE TYPE claimed AS (
    seq bigint, block bigint, lane bigint, spent integer, id uuid, created_at bigint, ready_at bigint,
    max_attempts bigint, attempts_base integer, at_most_once boolean, owner text, backoff text, timeout_us bigint,
    args bytea);

-- Gives a worker up to `most` jobs: see Store::claim. One row with no seq says that the worker is not, or no longer, known, or
-- that nobody waits for the answer any more: `turn` is the number of this claim, and what those before took was taken back.
-- What comes first is decided by (priority - whole periods waited * step, time, seq), as core's Priority::aged has it.
CREATE FUNCTION claim(
    who uuid, most bigint, at bigint, kinds text[], queues text[], of_namespace text, worst smallint,
    period bigint, step bigint, turn bigint)
RETURNS SETOF claimed
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    me      bigint;
    lanes   bigint[];
    sorted  boolean;
    missing bigint := most;
    before  bigint;
    taken   bigint;
    part    record;
BEGIN
    -- Whoever declares a worker lost locks this out, and waits for what the worker claims at this moment.
    SELECT w.worker, pg_advisory_xact_lock_shared(1952543595, (w.worker & 2147483647)::integer) INTO me
        FROM worker w WHERE w.id = who;

    -- The lanes that have something, locked in one order, so that claims never wait for each other in a circle. It sees what
    -- was committed while the lock was waited for.
    SELECT array_agg(t.lane), bool_or(t.is_sorted) INTO lanes, sorted FROM (
        SELECT l.lane, s.is_sorted FROM lane l JOIN queue q ON q.queue = l.queue
            CROSS JOIN LATERAL (
                SELECT h.xid, h.seq, h.late_xid FROM lane_head h WHERE h.lane = l.lane ORDER BY h.n DESC LIMIT 1) h
            CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM ready r WHERE r.lane = l.lane) AS is_sorted) s
        WHERE EXISTS (SELECT FROM worker w WHERE w.worker = me AND w.state = 0 AND w.claims_from <= turn)
          AND NOT l.is_resting AND l.kind = ANY (kinds)
          AND NOT EXISTS (
              SELECT FROM queue p WHERE p.namespace = q.namespace AND p.name = q.name AND p.paused)
          AND (queues IS NULL OR q.name = ANY (queues))
          AND (of_namespace IS NULL OR q.namespace = of_namespace)
          AND (worst IS NULL OR l.priority <= worst)
          AND (s.is_sorted
               OR EXISTS (SELECT FROM job j WHERE j.is_streamed AND j.lane = l.lane AND (j.xid, j.seq) > (h.xid, h.seq)
                                              AND j.xid < pg_snapshot_xmin(pg_current_snapshot()))
               OR ((h.late_xid <> '{}'
                    OR pg_snapshot_xmin(pg_current_snapshot()) <> pg_snapshot_xmax(pg_current_snapshot()))
                   AND EXISTS (SELECT FROM upcoming(l.lane, 1))))
        ORDER BY l.lane FOR UPDATE OF l) t;
    IF lanes IS NULL THEN
        IF NOT EXISTS (SELECT FROM worker w WHERE w.worker = me AND w.state = 0 AND w.claims_from <= turn) THEN
            RETURN NEXT NULL::claimed;
        END IF;
        RETURN;
    END IF;

    IF cardinality(lanes) = 1 AND NOT sorted THEN
        IF most <= 64 THEN
            RETURN QUERY SELECT * FROM take_few(me, lanes[1], most, at);
            GET DIAGNOSTICS taken = ROW_COUNT;
            missing := missing - taken;
        END IF;
        -- What is under way now may hide more of them.
        IF missing > 0 AND (missing = most
                OR pg_snapshot_xmin(pg_current_snapshot()) <> pg_snapshot_xmax(pg_current_snapshot())) THEN
            RETURN QUERY SELECT * FROM take_streamed(me, lanes[1], missing, at);
        END IF;
        RETURN;
    END IF;
    LOOP
        before := missing;
        FOR part IN SELECT * FROM shares(lanes, missing, at, period, step) LOOP
            RETURN QUERY SELECT * FROM take_streamed(me, part.lane, part.streamed, at) WHERE part.streamed > 0;
            GET DIAGNOSTICS taken = ROW_COUNT;
            missing := missing - taken;
            RETURN QUERY SELECT * FROM take_sorted(me, part.lane, part.sorted, at) WHERE part.sorted > 0;
            GET DIAGNOSTICS taken = ROW_COUNT;
            missing := missing - taken;
        END LOOP;
        EXIT WHEN missing = 0 OR missing = before;
    END LOOP;
END
$$;

-- How much of each lane's stream, and of its sorted jobs, comes next. Of every one a part is looked at; where that ends
-- the answer ends, too, if there may be more behind it: it is asked again.
CREATE FUNCTION shares(lanes bigint[], most bigint, at bigint, period bigint, step bigint)
RETURNS TABLE (lane bigint, streamed bigint, sorted bigint)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    reach bigint := least(most, greatest(16, 2 * most / array_length(lanes, 1)));
BEGIN
    RETURN QUERY
    WITH candidate AS MATERIALIZED (
        SELECT l.lane, c.is_sorted, c.ready_at, c.seq,
               l.priority - greatest(at - c.ready_at, 0) / period * step AS rank,
               count(*) OVER (PARTITION BY l.lane, c.is_sorted) = reach AS is_cut
        FROM unnest(lanes) AS n (lane) JOIN lane l ON l.lane = n.lane CROSS JOIN LATERAL (
            -- A stream is taken in its own order, which is not quite that of time: nothing overtakes there.
            (SELECT false AS is_sorted, max(u.run_at) OVER (ROWS UNBOUNDED PRECEDING) AS ready_at,
                    max(u.seq) OVER (ROWS UNBOUNDED PRECEDING) AS seq
             FROM upcoming(l.lane, reach) u)
            UNION ALL
            (SELECT true, r.ready_at, r.seq FROM ready r WHERE r.lane = l.lane
             ORDER BY r.lane, r.ready_at, r.seq LIMIT reach)) c),
    ended AS MATERIALIZED (
        SELECT c.rank, c.ready_at, c.seq FROM (
            SELECT DISTINCT ON (c.lane, c.is_sorted) c.rank, c.ready_at, c.seq FROM candidate c WHERE c.is_cut
            ORDER BY c.lane, c.is_sorted, c.rank DESC, c.ready_at DESC, c.seq DESC) c
        ORDER BY c.rank, c.ready_at, c.seq LIMIT 1),
    chosen AS (
        SELECT c.lane, c.is_sorted FROM candidate c
        WHERE NOT EXISTS (SELECT FROM ended e WHERE (c.rank, c.ready_at, c.seq) > (e.rank, e.ready_at, e.seq))
        ORDER BY c.rank, c.ready_at, c.seq LIMIT most)
    SELECT c.lane, count(*) FILTER (WHERE NOT c.is_sorted), count(*) FILTER (WHERE c.is_sorted)
    FROM chosen c GROUP BY c.lane;
END
$$;

-- Takes the next jobs of the stream of a lane. The caller has locked the lane.
--
-- Nothing is missed: what this snapshot does not see belongs to a transaction that is under way in it, and so becomes late
-- when the head passes it, or to one that begins later and lies behind every head that this snapshot can give. Nothing is
-- taken twice: a row is behind the head or of a late transaction, behind its own place.
CREATE FUNCTION take_streamed(me bigint, in_lane bigint, most bigint, at bigint)
RETURNS SETOF claimed
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    WITH head AS MATERIALIZED (
        SELECT h.n, h.xid, h.seq, h.late_xid, h.late_seq
        FROM lane_head h WHERE h.lane = in_lane ORDER BY h.n DESC LIMIT 1),
    taken AS MATERIALIZED (
        -- As in `upcoming`; written out, because each function on the way copies every row once more.
        SELECT * FROM (
            (SELECT j.* FROM head CROSS JOIN LATERAL unnest(head.late_xid, head.late_seq) AS late (xid, seq)
                CROSS JOIN LATERAL (
                    SELECT * FROM job
                    WHERE job.is_streamed AND job.lane = in_lane
                        AND (job.xid, job.seq) > (late.xid, late.seq) AND job.xid <= late.xid
                    ORDER BY job.lane, job.xid, job.seq LIMIT most) j
             WHERE pg_visible_in_snapshot(late.xid, pg_current_snapshot()))
            UNION ALL
            (SELECT j.* FROM head CROSS JOIN gap CROSS JOIN LATERAL (
                    SELECT * FROM job
                    WHERE job.is_streamed AND job.lane = in_lane AND job.xid < gap.hi
                        AND (job.xid, job.seq) > (
                            greatest(gap.lo, head.xid),
                            CASE WHEN gap.lo >= head.xid THEN 9223372036854775807 ELSE head.seq END)
                    ORDER BY job.lane, job.xid, job.seq LIMIT most) j
             WHERE gap.hi > head.xid)) j
        LIMIT most),
    extent AS MATERIALIZED (
        SELECT count(*) AS many, min(t.seq) AS lo, max(t.seq) AS hi FROM taken t),
    mine AS (
        -- Mostly the numbers follow each other.
        INSERT INTO block (worker, lane, claimed_at, seqs)
        SELECT me, in_lane, at,
               CASE WHEN e.hi - e.lo < e.many THEN int8multirange(int8range(e.lo, e.hi + 1))
                    ELSE (SELECT range_agg(int8range(t.seq, t.seq + 1)) FROM taken t) END
        FROM extent e WHERE e.many > 0
        RETURNING block),
    reached AS MATERIALIZED (
        -- The last one, unless it is a late one: those come first.
        SELECT t.xid, t.seq
        FROM head CROSS JOIN (
            SELECT t.xid, t.seq FROM taken t OFFSET (SELECT greatest(e.many - 1, 0) FROM extent e)) t
        WHERE (t.xid, t.seq) > (head.xid, head.seq)),
    late AS (
        -- Late ones that are under way still, or may have more than was asked for.
        SELECT l.xid, greatest(l.seq, (SELECT max(t.seq) FROM taken t WHERE t.xid = l.xid)) AS seq
        FROM head CROSS JOIN LATERAL unnest(head.late_xid, head.late_seq) AS l (xid, seq)
        WHERE NOT pg_visible_in_snapshot(l.xid, pg_current_snapshot()) OR (SELECT e.many FROM extent e) >= most
        UNION ALL
        SELECT x, 0 FROM head CROSS JOIN reached CROSS JOIN LATERAL pg_snapshot_xip(pg_current_snapshot()) AS x
        WHERE x > head.xid AND x < reached.xid),
    moved AS (
        INSERT INTO lane_head (lane, n, xid, seq, late_xid, late_seq)
        SELECT in_lane, head.n + 1, coalesce(reached.xid, head.xid), coalesce(reached.seq, head.seq),
               coalesce((SELECT array_agg(late.xid ORDER BY late.xid) FROM late), '{}'),
               coalesce((SELECT array_agg(late.seq ORDER BY late.xid) FROM late), '{}')
        FROM head LEFT JOIN reached ON true WHERE (SELECT e.many FROM extent e) > 0
        RETURNING n)
    SELECT t.seq, mine.block, in_lane, 0, t.id, t.created_at, t.run_at, t.max_attempts, t.attempts_base,
           t.at_most_once, t.owner, t.backoff, t.timeout_us, t.args
    FROM mine CROSS JOIN taken t;

    PERFORM forget_heads(in_lane, (SELECT h.n FROM lane_head h WHERE h.lane = in_lane ORDER BY h.n DESC LIMIT 1));
END
$$;

-- The same for a few, and as far as everything has ended that could have enqueued anything: statements so small that an
-- idle worker has its job in half the time. The caller has locked the lane.
CREATE FUNCTION take_few(me bigint, in_lane bigint, most bigint, at bigint)
RETURNS SETOF claimed
LANGUAGE plpgsql AS $$
DECLARE
    head    record;
    ended   xid8;
    reached xid8;
    job     claimed;
    taken   int8multirange := '{}';
BEGIN
    SELECT h.n, h.xid, h.seq, h.late_xid INTO head FROM lane_head h WHERE h.lane = in_lane ORDER BY h.n DESC LIMIT 1;
    IF head.late_xid <> '{}' THEN
        RETURN;
    END IF;
    -- Before the jobs are read: whatever has ended by now is seen whole.
    ended := pg_snapshot_xmin(pg_current_snapshot());
    job.block := nextval('block_block_seq');
    job.lane := in_lane;
    job.spent := 0;
    FOR job.seq, job.id, job.created_at, job.ready_at, job.max_attempts, job.attempts_base, job.at_most_once, job.owner,
        job.backoff, job.timeout_us, job.args, reached IN
        SELECT j.seq, j.id, j.created_at, j.run_at, j.max_attempts, j.attempts_base, j.at_most_once, j.owner, j.backoff,
               j.timeout_us, j.args, j.xid
        FROM job j
        WHERE j.is_streamed AND j.lane = in_lane AND (j.xid, j.seq) > (head.xid, head.seq) AND j.xid < ended
        ORDER BY j.lane, j.xid, j.seq LIMIT most
    LOOP
        taken := taken + int8multirange(int8range(job.seq, job.seq + 1));
        RETURN NEXT job;
    END LOOP;
    IF reached IS NOT NULL THEN
        WITH held AS (
            INSERT INTO block (block, worker, lane, claimed_at, seqs) OVERRIDING SYSTEM VALUE
                VALUES (job.block, me, in_lane, at, taken))
        INSERT INTO lane_head (lane, n, xid, seq, late_xid, late_seq)
            VALUES (in_lane, head.n + 1, reached, job.seq, '{}', '{}');
        PERFORM forget_heads(in_lane, head.n + 1);
    END IF;
END
$$;

-- Removes the heads of a lane that are long past, once in 64 claims; by a range that is closed below, so that what was
-- removed before is not walked again.
CREATE FUNCTION forget_heads(in_lane bigint, newest bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF newest % 64 = 0 THEN
        DELETE FROM lane_head h WHERE h.lane = in_lane AND h.n >= newest - 128 AND h.n < newest - 64;
    END IF;
END
$$;

-- Takes the first of the sorted jobs of a lane. The caller has locked the lane.
CREATE FUNCTION take_sorted(me bigint, in_lane bigint, most bigint, at bigint)
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
        FROM taken t LEFT JOIN freed f ON f.seq = t.seq)
    SELECT t.seq, 0::bigint, in_lane, t.attempts, j.id, j.created_at, t.ready_at, j.max_attempts, j.attempts_base,
           j.at_most_once, j.owner, j.backoff, j.timeout_us, j.args
    FROM taken t CROSS JOIN LATERAL (SELECT * FROM job WHERE job.seq = t.seq LIMIT 1) j
    ORDER BY t.ready_at, t.seq;
END
$$;

-- Stores a plain job, and gives it to a worker (`turn` as for `claim`) if it is the next one of its lane, in the one transaction:
-- `held_in`, its block, says so. Whoever stores a job waits for nobody: what is locked, by a claim that is under way, say, is
-- left alone.
--
-- The head passes the job as a claim would: to its own transaction, whose id is taken first, so that whatever is enqueued and
-- not seen here is of a transaction that is late, or of one that begins behind it. A snapshot does not list all that are late: those
-- behind the newest that has ended are left out. A head that has passed this transaction meanwhile has it among the late ones,
-- and keeps it there, with the job as its place.
CREATE FUNCTION enqueue_to(
    who uuid, turn bigint, new_id uuid, in_lane bigint, at bigint, starts_at bigint, most_us bigint, most bigint,
    state smallint, once boolean, for_owner text, wait text, with_args bytea, OUT stored bigint, OUT held_in bigint)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    own     xid8 := pg_current_xact_id();
    me      bigint;
    locked  bigint;
    newest  bigint;
    far     xid8;
    far_seq bigint;
    xids    xid8[];
    seqs    bigint[];
BEGIN
    SELECT w.worker, l.lane INTO me, locked FROM worker w, lane l
        WHERE w.id = who AND l.lane = in_lane
          AND pg_try_advisory_xact_lock_shared(1952543595, (w.worker & 2147483647)::integer)
        FOR UPDATE OF l SKIP LOCKED;
    IF locked IS NOT NULL THEN
        -- All on one snapshot, which is younger than the lock: what is free, and what is late. Mostly nothing else is under way.
        SELECT h.n, h.xid, h.seq, CASE WHEN h.is_alone THEN '{}' ELSE late.xids END,
               CASE WHEN h.is_alone THEN '{}' ELSE late.seqs END
            INTO newest, far, far_seq, xids, seqs
        FROM (SELECT h.*, s.first_open, h.late_xid = '{}' AND s.oldest >= own AND s.first_open >= own::text::bigint AS is_alone
              FROM (SELECT * FROM lane_head h WHERE h.lane = in_lane ORDER BY h.n DESC LIMIT 1) h,
                   (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS oldest,
                           pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS first_open) s) h
            LEFT JOIN LATERAL (
                SELECT coalesce(array_agg(t.xid ORDER BY t.xid), '{}') AS xids,
                       coalesce(array_agg(t.seq ORDER BY t.xid), '{}') AS seqs
                FROM (SELECT l.xid, l.seq FROM unnest(h.late_xid, h.late_seq) AS l (xid, seq)
                      WHERE l.xid <> own AND NOT pg_visible_in_snapshot(l.xid, pg_current_snapshot())
                      UNION ALL
                      SELECT x, 0 FROM pg_snapshot_xip(pg_current_snapshot()) AS x WHERE x > h.xid AND x < own
                      UNION ALL
                      SELECT x::text::xid8, 0 FROM generate_series(h.first_open, own::text::bigint - 1) AS x
                      WHERE x::text::xid8 > h.xid) t) late ON NOT h.is_alone
        WHERE EXISTS (SELECT FROM worker w WHERE w.worker = me AND w.state = 0 AND w.claims_from <= turn)
          AND own::text::bigint - h.first_open < 1000
          AND NOT EXISTS (
              SELECT FROM lane l JOIN queue q ON q.queue = l.queue
                  JOIN queue p ON p.namespace = q.namespace AND p.name = q.name AND p.paused
              WHERE l.lane = in_lane)
          AND NOT EXISTS (SELECT FROM ready r WHERE r.lane = in_lane)
          AND CASE WHEN h.is_alone
                   THEN NOT EXISTS (
                       SELECT FROM job j WHERE j.is_streamed AND j.lane = in_lane AND (j.xid, j.seq) > (h.xid, h.seq))
                   ELSE NOT EXISTS (SELECT FROM upcoming(in_lane, 1)) END;
    END IF;
    WITH new AS (
        INSERT INTO job
            (id, lane, created_at, run_at, timeout_us, max_attempts, first_state, at_most_once, owner, backoff, args)
        VALUES (new_id, in_lane, at, starts_at, most_us, most, state, once, for_owner, wait, with_args)
        RETURNING seq),
    held AS (
        INSERT INTO block (worker, lane, claimed_at, seqs)
        SELECT me, in_lane, at, int8multirange(int8range(new.seq, new.seq + 1)) FROM new WHERE newest IS NOT NULL
        RETURNING block),
    passed AS (
        INSERT INTO lane_head (lane, n, xid, seq, late_xid, late_seq)
        SELECT in_lane, newest + 1, own, new.seq, xids, seqs FROM new WHERE own > far
        UNION ALL
        SELECT in_lane, newest + 1, far, far_seq, xids || own, seqs || new.seq FROM new WHERE own < far)
    SELECT new.seq, held.block INTO stored, held_in FROM new LEFT JOIN held ON true;
    IF (newest + 1) % 64 = 0 THEN
        PERFORM forget_heads(in_lane, newest + 1);
    END IF;
END
$$;

-- Ends first attempts that completed, of jobs that are in blocks of the worker: all of them, or it fails with TW001. For each of
-- `blocks` there is what leaves it (`leaving`, a multirange as text), and which of that left nothing but `times` (`plain`);
-- the others come as rows of attempt.
CREATE FUNCTION complete(
    who uuid, blocks bigint[], leaving text[], plain text[], times bytea[],
    row_block bigint[], row_seq bigint[], row_started bigint[], row_ended bigint[], row_usage text[], row_result text[],
    outcome_is smallint, to_state smallint)
RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    me    bigint;
    since bigint;
    gone  int8multirange;
    done  int8multirange;
BEGIN
    SELECT w.worker INTO me FROM worker w WHERE w.id = who;
    FOR i IN 1 .. cardinality(blocks) LOOP
        gone := leaving[i];
        -- Whoever else takes a job out of a block changes its row, too: the second one finds it without the job.
        UPDATE block b SET seqs = b.seqs - gone WHERE b.block = blocks[i] AND b.worker = me AND b.seqs @> gone
            RETURNING b.claimed_at, b.seqs INTO since, done;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'not all of these attempts are held in block %', blocks[i] USING ERRCODE = 'TW001';
        END IF;
        IF isempty(done) THEN
            DELETE FROM block b WHERE b.block = blocks[i];
        END IF;
        done := plain[i];
        IF NOT isempty(done) THEN
            INSERT INTO completion (worker, claimed_at, lo, hi, seqs, times)
                VALUES (me, since, lower(done), upper(done) - 1, done, times[i]);
        END IF;
        IF cardinality(row_block) > 0 THEN
            INSERT INTO attempt
                (seq, attempt, worker, claimed_at, started_at, ended_at, outcome, moved_to, usage, result)
            SELECT e.seq, 1, me, since, e.started_at, e.ended_at, outcome_is, to_state, e.usage, e.result
            FROM unnest(row_block, row_seq, row_started, row_ended, row_usage, row_result)
                 AS e (block, seq, started_at, ended_at, usage, result)
            WHERE e.block = blocks[i];
        END IF;
        IF NOT isempty(done) AND EXISTS (SELECT FROM interest i WHERE i.state = 'completed') THEN
            PERFORM tell_completed(done);
        END IF;
    END LOOP;
END
$$;

-- Gives running jobs of blocks a row in `running`, where whatever happens to a job before or other than its completion
-- finds it; their blocks are rid of them. With `of_worker`, only that worker's. Gives those that have such a row now.
CREATE FUNCTION set_apart(which bigint[], of_worker bigint) RETURNS SETOF bigint
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
        SELECT s, cut.worker, 1, cut.claimed_at, 0 FROM cut CROSS JOIN LATERAL unnest(cut.seqs) AS s)
    SELECT array_agg(cut.block) FILTER (WHERE cut.is_empty) INTO emptied FROM cut;

    DELETE FROM block b WHERE b.block = ANY (emptied);

    RETURN QUERY SELECT x.seq FROM running x
        WHERE x.seq = ANY (which) AND (of_worker IS NULL OR x.worker = of_worker);
END
$$;

-- The same for all jobs that a worker holds in blocks: it is gone. A block from which somebody's transaction is taking a job
-- is left as it is.
CREATE FUNCTION set_all_apart(of_worker bigint) RETURNS void
LANGUAGE sql AS $$
    WITH free AS MATERIALIZED (
        SELECT b.block FROM block b WHERE b.worker = of_worker ORDER BY b.block FOR UPDATE SKIP LOCKED),
    gone AS (
        DELETE FROM block b USING free WHERE b.block = free.block RETURNING b.claimed_at, b.seqs)
    INSERT INTO running (seq, worker, attempt, claimed_at, flags)
    SELECT s, of_worker, 1, gone.claimed_at, 0
    FROM gone CROSS JOIN LATERAL unnest(gone.seqs) AS r CROSS JOIN LATERAL generate_series(lower(r), upper(r) - 1) AS s;
$$;

-- Whether there are numbers of transactions that this server has not given yet: the schema was restored from another one.
CREATE FUNCTION is_restored() RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM lane l CROSS JOIN LATERAL (
            SELECT h.xid FROM lane_head h WHERE h.lane = l.lane ORDER BY h.n DESC LIMIT 1) h
        WHERE h.xid >= pg_snapshot_xmax(pg_current_snapshot()))
    OR EXISTS (
        SELECT FROM lane l CROSS JOIN LATERAL (
            SELECT j.xid FROM job j WHERE j.is_streamed AND j.lane = l.lane ORDER BY j.lane, j.xid DESC LIMIT 1) j
        WHERE j.xid >= pg_snapshot_xmax(pg_current_snapshot()));
$$;

-- Makes a restored schema this server's own. What is left of the streams is sorted from now on, and streams begin anew, behind
-- all that is there. Jobs that were enqueued since the restoration, which may hide behind heads of the other server, are found
-- by what they are not: nothing has been done with them.
CREATE FUNCTION adopt() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    done      int8multirange;
    left_over bigint[];
BEGIN
    -- A job that is committed between two of these statements would be taken for one of the old server's, and put behind
    -- the new heads. So whoever enqueues waits.
    LOCK TABLE job IN SHARE ROW EXCLUSIVE MODE;
    PERFORM FROM lane ORDER BY lane FOR UPDATE;
    IF NOT is_restored() THEN
        RETURN; -- Somebody else has done it meanwhile.
    END IF;
    SELECT coalesce(range_agg(r), '{}') INTO done FROM (
        SELECT unnest(c.seqs) AS r FROM completion c UNION ALL SELECT unnest(b.seqs) FROM block b) t;
    SELECT coalesce(array_agg(j.seq), '{}') INTO left_over FROM job j
        WHERE j.is_streamed AND NOT j.seq <@ done
          AND NOT EXISTS (SELECT FROM attempt a WHERE a.seq = j.seq)
          AND NOT EXISTS (SELECT FROM ready r WHERE r.lane = j.lane AND r.ready_at = j.run_at AND r.seq = j.seq)
          AND NOT EXISTS (SELECT FROM waiting w WHERE w.seq = j.seq)
          AND NOT EXISTS (SELECT FROM running x WHERE x.seq = j.seq)
          AND NOT EXISTS (SELECT FROM over o WHERE o.seq = j.seq);
    INSERT INTO ready (lane, ready_at, seq, attempts, flags)
        SELECT j.lane, j.run_at, j.seq, 0, 0 FROM job j WHERE j.seq = ANY (left_over);
    UPDATE job j SET is_streamed = false WHERE j.seq = ANY (left_over);
    UPDATE job SET xid = '1' WHERE xid >= pg_snapshot_xmin(pg_current_snapshot());
    INSERT INTO lane_head (lane, n, xid, seq, late_xid, late_seq)
        SELECT l.lane, h.n + 1, pg_snapshot_xmin(pg_current_snapshot()), 0, '{}', '{}'
        FROM lane l CROSS JOIN LATERAL (
            SELECT h.n FROM lane_head h WHERE h.lane = l.lane ORDER BY h.n DESC LIMIT 1) h;
END
$$;
