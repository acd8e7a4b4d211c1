-- Generators, and which jobs are items of theirs (docs/design/0019-generators.md). All times are UTC microseconds since 1970.

-- definition, record and state are JSON that is not read here. next is when somebody has to look at it: while it is taken, the
-- end of the lease. notices counts those that were given to it. best is the best priority of its items; listens says whether there are
-- topics of events that notify it. Keys are never used again. A busy generator is written some
-- ten times a second; each page has room for a second version of its rows.
CREATE TABLE generator (
    generator   bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version     bigint  NOT NULL,
    fence       bigint  NOT NULL,
    notices     bigint  NOT NULL,
    next        bigint,
    lease_until bigint,
    created_at  bigint  NOT NULL,
    changed_at  bigint  NOT NULL,
    paused      boolean NOT NULL,
    listens     boolean NOT NULL,
    best        integer NOT NULL,
    namespace   text    NOT NULL,
    name        text    NOT NULL,
    definition  text    NOT NULL,
    record      text    NOT NULL,
    state       text    NOT NULL,
    UNIQUE (namespace, name)
) WITH (fillfactor = 50);

CREATE INDEX generator_next ON generator (next, generator) WHERE next IS NOT NULL;
CREATE INDEX generator_listens ON generator (generator) WHERE listens;
CREATE INDEX generator_of ON generator (namespace, generator);

-- The outstanding items: jobs whose ends the generator has not been told of. No more than its window.
CREATE TABLE item (
    generator bigint NOT NULL,
    job       uuid   NOT NULL,
    key       text,
    PRIMARY KEY (generator, job)
);
