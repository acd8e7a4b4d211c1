-- The foundation only: what the tables of jobs will refer to. All times are UTC microseconds since 1970.

CREATE TABLE queue (
    queue     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text    NOT NULL,
    name      text    NOT NULL,
    paused    boolean NOT NULL DEFAULT false,
    UNIQUE (namespace, name)
);

-- Jobs that only order tells apart: same queue, kind and priority. Rows are never changed and never removed.
CREATE TABLE lane (
    lane     integer  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue    integer  NOT NULL REFERENCES queue,
    kind     text     NOT NULL,
    priority smallint NOT NULL,
    UNIQUE (queue, kind, priority)
);

CREATE TABLE worker (
    worker        uuid   PRIMARY KEY,
    registered_at bigint NOT NULL
);
