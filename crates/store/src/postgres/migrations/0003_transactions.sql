-- What a user's own transaction calls: jobs that exist if and only if it commits, and a job that is completed by it.
--
-- It runs in a session of the user's, whose settings are not ours: enable_seqscan is off within the functions, so that a plan
-- that was made while a table was empty is right when it is full.

-- Stores one job: see Store::enqueue. For programs, which have checked what they pass; people use `enqueue`. Gives the id of
-- the job that stands for the request, and whether that was there already. Times are UTC microseconds since 1970.
CREATE FUNCTION enqueue_job(
    job_id uuid, in_namespace text, in_queue text, in_kind text, in_priority smallint, job_args bytea,
    not_before bigint DEFAULT NULL, is_held boolean DEFAULT false, attempts_max bigint DEFAULT 5,
    job_backoff text DEFAULT NULL, job_timeout_us bigint DEFAULT NULL, is_at_most_once boolean DEFAULT false,
    job_owner text DEFAULT NULL, job_key text DEFAULT NULL, key_scope smallint DEFAULT 1)
RETURNS TABLE (id uuid, existing boolean)
LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    now_us   bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    hold_us  CONSTANT bigint := 3600000000;
    run_us   bigint := greatest(now_us, not_before);
    to_lane  bigint;
    to_state smallint;
    number   bigint;
    streamed boolean;
BEGIN
    to_state := CASE WHEN is_held THEN 0 WHEN run_us > now_us THEN 2 ELSE 3 END;
    streamed := to_state = 3 AND job_key IS NULL;
    to_lane := lane_of(in_namespace, in_queue, in_kind, in_priority);
    number := nextval(pg_get_serial_sequence('job', 'seq'));
    FOR tries IN 1 .. 10 LOOP
        IF job_key IS NOT NULL THEN
            IF EXISTS (SELECT FROM job j WHERE j.id = job_id) THEN
                RETURN QUERY SELECT job_id, true;
                RETURN;
            END IF;
            -- The key first: it is what two callers compete for, and the second one waits here until the first has ended.
            INSERT INTO unique_key (namespace, kind, key, scope, seq)
                VALUES (in_namespace, in_kind, job_key, key_scope, number)
                ON CONFLICT (namespace, kind, key) DO NOTHING;
            IF NOT FOUND THEN
                RETURN QUERY SELECT j.id, true FROM unique_key u
                    CROSS JOIN LATERAL (SELECT job.id FROM job WHERE job.seq = u.seq LIMIT 1) j
                    WHERE u.namespace = in_namespace AND u.kind = in_kind AND u.key = job_key;
                IF FOUND THEN
                    RETURN;
                END IF;
                CONTINUE; -- It was released between the two looks.
            END IF;
        END IF;
        INSERT INTO job (seq, id, lane, created_at, run_at, first_state, max_attempts, at_most_once, is_streamed, owner,
                         backoff, timeout_us, args)
            VALUES (number, job_id, to_lane, now_us, run_us, to_state, attempts_max, is_at_most_once, streamed, job_owner,
                    job_backoff, job_timeout_us, job_args)
            ON CONFLICT (id) DO NOTHING;
        IF NOT FOUND THEN
            DELETE FROM unique_key u WHERE u.seq = number;
            RETURN QUERY SELECT job_id, true;
            RETURN;
        END IF;
        IF to_state <> 3 THEN
            INSERT INTO waiting (seq, lane, state, due, attempts, flags)
                VALUES (number, to_lane, to_state, CASE WHEN is_held THEN now_us + hold_us ELSE run_us END, 0,
                        (job_key IS NOT NULL)::integer);
        ELSIF NOT streamed THEN
            INSERT INTO ready (lane, ready_at, seq, attempts, flags) VALUES (to_lane, run_us, number, 0, 1);
        END IF;
        RETURN QUERY SELECT job_id, false;
        RETURN;
    END LOOP;
    RAISE EXCEPTION 'others took and freed the unique key % each time that it was looked at', job_key
        USING ERRCODE = 'serialization_failure', HINT = 'Try again; nothing was stored.';
END
$$;

-- Stores the jobs of a JSON array, and answers in their order. What every driver of every language can send: one text.
-- The arguments of a job are a JSON *string* that holds their exact bytes; `key`, `scope` and the like as in enqueue_job.
CREATE FUNCTION enqueue_jobs(jobs text) RETURNS TABLE (id text, existing boolean)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    job record;
BEGIN
    FOR job IN SELECT * FROM jsonb_to_recordset(jobs::jsonb) AS j (
            id uuid, namespace text, queue text, kind text, priority smallint, args text, run_at bigint, held boolean,
            max_attempts bigint, backoff text, timeout_us bigint, at_most_once boolean, owner text, key text,
            scope smallint) LOOP
        RETURN QUERY SELECT e.id::text, e.existing FROM enqueue_job(
            job.id, job.namespace, job.queue, job.kind, job.priority, convert_to(job.args, 'UTF8'), job.run_at, job.held,
            job.max_attempts, job.backoff, job.timeout_us, job.at_most_once, job.owner, job.key, job.scope) e;
    END LOOP;
END
$$;

-- The lane of a queue, kind and priority, made if it is new. It may become one of several: nobody waits for another's
-- transaction here.
CREATE FUNCTION lane_of(in_namespace text, in_queue text, in_kind text, in_priority smallint) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    its_queue bigint;
    its_lane  bigint;
BEGIN
    SELECT l.lane INTO its_lane FROM queue q JOIN lane l ON l.queue = q.queue
        WHERE q.namespace = in_namespace AND q.name = in_queue AND l.kind = in_kind AND l.priority = in_priority
        ORDER BY l.lane LIMIT 1;
    IF its_lane IS NOT NULL THEN
        RETURN its_lane;
    END IF;
    SELECT q.queue INTO its_queue FROM queue q WHERE q.namespace = in_namespace AND q.name = in_queue
        ORDER BY q.queue LIMIT 1;
    IF its_queue IS NULL THEN
        INSERT INTO queue (namespace, name) VALUES (in_namespace, in_queue) RETURNING queue INTO its_queue;
    END IF;
    INSERT INTO lane (queue, kind, priority) VALUES (its_queue, in_kind, in_priority) RETURNING lane INTO its_lane;
    INSERT INTO lane_head (lane, n, xid, seq, late_xid, late_seq) VALUES (its_lane, 0, '0', 0, '{}', '{}');
    RETURN its_lane;
END
$$;

-- Stores one job, for psql, triggers and programs in any language:
--
--     SELECT taskwright.enqueue('email.welcome', '{"user": 7}', queue => 'mail', run_at => now() + interval '1 h');
--
-- It exists if and only if the transaction commits, and starts then within about 100 ms. Gives its id, or that of the job
-- that holds the unique key. NULL for max_attempts is no limit; unique_while is 'waiting' (until it is claimed) or 'active'
-- (until it is over).
CREATE FUNCTION enqueue(
    kind text, args jsonb DEFAULT '{}', queue text DEFAULT 'default', priority integer DEFAULT 2000,
    run_at timestamptz DEFAULT NULL, unique_key text DEFAULT NULL, unique_while text DEFAULT 'waiting',
    max_attempts integer DEFAULT 5, timeout interval DEFAULT NULL, owner text DEFAULT NULL,
    namespace text DEFAULT 'default', held boolean DEFAULT false, at_most_once boolean DEFAULT false,
    id uuid DEFAULT NULL)
RETURNS uuid
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    body   text := coalesce(args, 'null')::text;
    stands uuid;
BEGIN
    PERFORM refuse_unless(n.value ~ '^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$', n.name, n.value,
            'start with a letter or digit, go on with letters, digits and . _ : / -, and have at most 128 bytes')
        FROM (VALUES ('kind', kind), ('queue', queue), ('namespace', namespace)) AS n (name, value);
    PERFORM refuse_unless(octet_length(body) <= 1048576, 'args', left(body, 60), 'have at most 1 MiB');
    PERFORM refuse_unless(depth_of(body) <= 127, 'args', left(body, 60), 'nest at most 127 levels deep');
    PERFORM refuse_unless(priority BETWEEN -32768 AND 32767, 'priority', priority::text, 'be from -32768 to 32767');
    PERFORM refuse_unless(max_attempts IS NULL OR max_attempts BETWEEN 1 AND 1000000, 'max_attempts', max_attempts::text,
            'be from 1 to 1000000, or NULL for no limit');
    PERFORM refuse_unless(run_at IS NULL OR run_at BETWEEN '0001-01-01 UTC' AND '9999-12-30 22:00:00 UTC', 'run_at', run_at::text,
            'be a moment before 9999-12-30 22:00:00 UTC, and not -infinity');
    PERFORM refuse_unless(timeout IS NULL OR timeout > interval '0' AND timeout <= interval '1000 years', 'timeout',
            timeout::text, 'be longer than nothing, and at most 1000 years');
    PERFORM refuse_unless(owner IS NULL OR (octet_length(owner) BETWEEN 1 AND 1024
                AND owner !~ '[\u0001-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]'),
            'owner', owner, 'be 1 to 1,024 bytes of printable text');
    PERFORM refuse_unless(unique_key IS NULL OR octet_length(unique_key) BETWEEN 1 AND 512, 'unique_key', unique_key,
            'have 1 to 512 bytes');
    PERFORM refuse_unless(unique_while IN ('waiting', 'active'), 'unique_while', unique_while, 'be waiting or active');
    PERFORM refuse_unless(f.value IS NOT NULL, f.name, 'NULL', 'be true or false')
        FROM (VALUES ('held', held), ('at_most_once', at_most_once)) AS f (name, value);
    SELECT j.id INTO stands FROM enqueue_job(
        coalesce(id, new_id()), namespace, queue, kind, priority::smallint, convert_to(body, 'UTF8'),
        (extract(epoch FROM run_at) * 1000000)::bigint, held, coalesce(max_attempts, 0), NULL,
        (extract(epoch FROM timeout) * 1000000)::bigint, at_most_once, owner, unique_key,
        CASE unique_while WHEN 'waiting' THEN 1 ELSE 2 END::smallint) j;
    RETURN stands;
END
$$;

-- How deep a JSON text nests. Whoever reads it has a bound on that.
CREATE FUNCTION depth_of(body text) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    opening CONSTANT bigint := length(body) - length(translate(body, '[{', ''));
BEGIN
    -- Nearly always: there are not even so many brackets.
    IF opening <= 127 THEN
        RETURN opening;
    END IF;
    RETURN (SELECT coalesce(max(b.depth), 0) FROM (
        SELECT sum(CASE WHEN c.bracket IN ('[', '{') THEN 1 ELSE -1 END) OVER (ORDER BY c.at) AS depth
        FROM regexp_split_to_table(regexp_replace(body, '"(?:[^"\\]|\\.)*"|[^][{}"]+', '', 'g'), '') WITH ORDINALITY AS c (bracket, at)
        WHERE c.bracket <> '') b);
END
$$;

CREATE FUNCTION refuse_unless(is_right boolean, what text, value text, must text) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF is_right IS NOT TRUE THEN
        RAISE EXCEPTION 'taskwright: the % "%" is not accepted', what, left(value, 60)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It must ' || must || '.';
    END IF;
END
$$;

-- A UUID of version 7 (RFC 9562, section 5.7): milliseconds since 1970, then randomness.
CREATE FUNCTION new_id() RETURNS uuid
LANGUAGE sql VOLATILE AS $$
    SELECT encode(set_byte(
        overlay(uuid_send(gen_random_uuid())
                PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
        6, (get_byte(uuid_send(gen_random_uuid()), 0) & 15) | 112), 'hex')::uuid;
$$;

-- Completes a running attempt: its job is completed if and only if the transaction commits, together with all else that
-- it does. It fails when the attempt does not run (any more): then nothing of the transaction may take place.
CREATE FUNCTION complete_job(
    who uuid, in_seq bigint, in_attempt integer, started bigint, job_result text DEFAULT NULL, used text DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan = off AS $$
DECLARE
    now_us bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    me     bigint;
    since  bigint;
    marks  bigint := 0;
    stops  boolean := false;
BEGIN
    SELECT w.worker INTO me FROM worker w WHERE w.id = who;
    -- Whoever would end the attempt otherwise waits for the row until this transaction ends. A job that is still in a block
    -- keeps that whole, and so the worker's other ends; it is better set apart before.
    IF in_attempt = 1 THEN
        PERFORM set_apart(ARRAY[in_seq], me);
    END IF;
    DELETE FROM running x WHERE x.seq = in_seq AND x.worker = me AND x.attempt = in_attempt
        RETURNING x.claimed_at, x.flags, x.cancel_at IS NOT NULL INTO since, marks, stops;
    IF since IS NULL THEN
        RAISE EXCEPTION 'taskwright: attempt % of this job runs no more on this worker', in_attempt
            USING ERRCODE = 'TW001', HINT = 'Roll back: the attempt has ended, or the job runs, or has run, elsewhere.';
    ELSIF stops THEN
        RAISE EXCEPTION 'taskwright: somebody has asked for this job to be cancelled'
            USING ERRCODE = 'TW002', HINT = 'Roll back, and return from the handler.';
    END IF;
    INSERT INTO attempt (seq, attempt, worker, claimed_at, started_at, ended_at, outcome, moved_to, result, usage)
        VALUES (in_seq, in_attempt, me, since, started, now_us, 0, 6, job_result, used);
    IF marks <> 0 THEN
        WITH freed AS (
            DELETE FROM unique_key u WHERE u.seq = in_seq RETURNING u.seq, u.namespace, u.kind, u.key, u.scope)
        INSERT INTO unique_past (seq, namespace, kind, key, scope) SELECT f.* FROM freed f;
    END IF;
END
$$;

-- The same for an attempt that is told in one text of JSON; answers with the job's id, as enqueue_jobs does.
CREATE FUNCTION complete_attempt(attempt text) RETURNS TABLE (id text, existing boolean)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    told record;
BEGIN
    SELECT * INTO told FROM jsonb_to_record(complete_attempt.attempt::jsonb) AS t (
        worker uuid, seq bigint, number integer, started_at bigint, result text, usage text);
    PERFORM complete_job(told.worker, told.seq, told.number, told.started_at, told.result, told.usage);
    RETURN QUERY SELECT j.id::text, false FROM job j WHERE j.seq = told.seq;
END
$$;
