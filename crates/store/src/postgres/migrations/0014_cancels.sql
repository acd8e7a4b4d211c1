-- Jobs that somebody asked to cancel while they ran (docs/design/0031-filters.md): the rows of `running`, which know it until the attempt
-- ends, go with it. A job that is run once more has no row here.
CREATE TABLE cancel_asked (
    seq bigint PRIMARY KEY
);

-- By this key the place is sealed where a listing goes on, when the job that is there is nobody's business. One row.
CREATE TABLE seal (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    key    bytea   NOT NULL
);

-- Of either id 122 bits are of the system's dice.
INSERT INTO seal (key) VALUES (
    decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));
