-- Bulk jobs: what a parent has besides (docs/design/0021-bulk-jobs.md).

-- definition and tally are JSON that is not read here; progress is that of the job. A row stays for as long as its job. The
-- generator is gone once the bulk is over. A busy bulk is written some ten times a second; each page has room for a second
-- version of its rows.
CREATE TABLE bulk (
    seq        bigint PRIMARY KEY,
    generator  bigint NOT NULL,
    namespace  text   NOT NULL,
    name       text   NOT NULL,
    definition text   NOT NULL,
    tally      text   NOT NULL,
    progress   text   NOT NULL
) WITH (fillfactor = 50);

-- A parent that completed has no attempt that tells of it: it is in over, as those that failed are.
CREATE OR REPLACE FUNCTION tell_over() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM interest i WHERE i.state IN ('completed', 'failed', 'cancelled', 'dropped')) THEN
        PERFORM tell_ends(
            array_agg(e.seq ORDER BY e.seq),
            array_agg(CASE e.state WHEN 6 THEN 'completed' WHEN 7 THEN 'failed' WHEN 8 THEN 'cancelled'
                                   ELSE 'dropped' END ORDER BY e.seq),
            array_agg(coalesce((SELECT max(a.attempt) FROM attempt a WHERE a.seq = e.seq), 0) ORDER BY e.seq),
            array_agg(e.ended_at ORDER BY e.seq))
        FROM ended e HAVING count(*) > 0;
    END IF;
    RETURN NULL;
END
$$;
