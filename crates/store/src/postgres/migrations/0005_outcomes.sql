-- Ends of jobs as events, for the schedules that wait for them (`interest`): in the transaction in which the job ends, whoever
-- ends it and however. What the events say is written down in crates/core/src/outcome.rs.

-- The schedule that made a job, if one did and its history still says so.
CREATE FUNCTION made_by(job_id uuid) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT s.name FROM firing f JOIN schedule s ON s.schedule = f.schedule WHERE f.job = job_id LIMIT 1
$$;

-- Tells of jobs that have ended, if that interests a schedule.
CREATE FUNCTION tell_ends(seqs bigint[], states text[], spent integer[], ended_at bigint[]) RETURNS void
LANGUAGE sql SET search_path FROM CURRENT SET enable_seqscan = off AS $$
    WITH told AS (
        INSERT INTO event (at, id, namespace, topic, key, payload)
        SELECT e.ended_at, new_id(), q.namespace, 'job.' || e.state, j.id::text,
               convert_to(jsonb_build_object('job', j.id, 'kind', l.kind, 'queue', q.name, 'state', e.state,
                                             'attempts', e.spent, 'schedule', made_by(j.id))::text, 'UTF8')
        FROM unnest(seqs, states, spent, ended_at) WITH ORDINALITY AS e (seq, state, spent, ended_at, place)
        CROSS JOIN LATERAL (SELECT id, lane FROM job WHERE job.seq = e.seq LIMIT 1) j
        JOIN lane l ON l.lane = j.lane
        JOIN queue q ON q.queue = l.queue
        WHERE EXISTS (SELECT FROM interest i WHERE i.state = e.state AND i.namespace = q.namespace
                                                AND i.kind IN (l.kind, ''))
        ORDER BY e.place
        RETURNING event)
    INSERT INTO event_due (event) SELECT event FROM told;
$$;

-- First attempts that completed and left nothing but their times.
CREATE FUNCTION tell_completed(done int8multirange) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    now_us bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
BEGIN
    PERFORM tell_ends(array_agg(s.seq), array_agg('completed'::text), array_agg(1), array_agg(now_us))
    FROM unnest(done) r, generate_series(lower(r), upper(r) - 1) AS s (seq);
END
$$;

-- Other attempts that completed.
CREATE FUNCTION tell_attempts() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM interest i WHERE i.state = 'completed') THEN
        PERFORM tell_ends(array_agg(e.seq ORDER BY e.seq), array_agg('completed'::text ORDER BY e.seq),
                          array_agg(e.attempt ORDER BY e.seq), array_agg(e.ended_at ORDER BY e.seq))
        FROM ended e WHERE e.moved_to = 6 HAVING count(*) > 0;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER tell_attempts AFTER INSERT ON attempt REFERENCING NEW TABLE AS ended
    FOR EACH STATEMENT EXECUTE FUNCTION tell_attempts();

-- Jobs that failed, were cancelled or were dropped.
CREATE FUNCTION tell_over() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM interest i WHERE i.state IN ('failed', 'cancelled', 'dropped')) THEN
        PERFORM tell_ends(
            array_agg(e.seq ORDER BY e.seq),
            array_agg(CASE e.state WHEN 7 THEN 'failed' WHEN 8 THEN 'cancelled' ELSE 'dropped' END ORDER BY e.seq),
            array_agg(coalesce((SELECT max(a.attempt) FROM attempt a WHERE a.seq = e.seq), 0) ORDER BY e.seq),
            array_agg(e.ended_at ORDER BY e.seq))
        FROM ended e HAVING count(*) > 0;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER tell_over AFTER INSERT ON over REFERENCING NEW TABLE AS ended
    FOR EACH STATEMENT EXECUTE FUNCTION tell_over();
