-- Services of processes (docs/design/0034-services.md). All times are UTC microseconds since 1970.

CREATE TABLE service (
    process    uuid     NOT NULL,
    since      bigint   NOT NULL,
    restarts   bigint   NOT NULL,
    restart_at bigint,
    error_at   bigint,
    seen_at    bigint   NOT NULL,
    pid        bigint   NOT NULL,
    state      smallint NOT NULL,
    name       text     NOT NULL,
    host       text     NOT NULL,
    error      text,
    PRIMARY KEY (process, name)
);

CREATE INDEX service_seen ON service (seen_at);
