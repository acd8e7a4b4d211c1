-- Endpoints of webhooks (docs/design/0020-webhooks.md). All times are UTC microseconds since 1970.

-- The order of events in which they were delivered to schedules, which is one that everybody sees alike: the keys of events are
-- taken before their transactions end, and one that ends late would be passed over by whoever reads on from the newest key.
-- Written by those who deliver, one at a time, because each holds event_head until its end; and only while there are endpoints.
CREATE TABLE event_log (
    position bigint PRIMARY KEY,
    event    bigint NOT NULL,
    at       bigint NOT NULL
);

CREATE TABLE event_head (
    single   boolean PRIMARY KEY DEFAULT true CHECK (single),
    position bigint  NOT NULL
) WITH (fillfactor = 10);

INSERT INTO event_head (position) VALUES (0);

-- An endpoint, by the generator that delivers to it. topics and definition are JSON that is not read here. epoch says which of its
-- retry sets counts; listens, whether it waits to be told of new events.
CREATE TABLE webhook (
    generator  bigint  PRIMARY KEY,
    epoch      bigint  NOT NULL,
    listens    boolean NOT NULL,
    topics     text    NOT NULL,
    definition text    NOT NULL
) WITH (fillfactor = 50);

CREATE INDEX webhook_listens ON webhook (generator) WHERE listens;

-- Events that could not be delivered, with what is to be told of them when they are not kept any more. One without next_at waits for the one of its key before it, by position.
CREATE TABLE retry (
    generator bigint  NOT NULL,
    epoch     bigint  NOT NULL,
    event     bigint  NOT NULL,
    position  bigint  NOT NULL,
    next_at   bigint,
    attempts  integer NOT NULL,
    id        uuid    NOT NULL,
    topic     text    NOT NULL,
    key       text,
    PRIMARY KEY (generator, epoch, event)
);

CREATE INDEX retry_next ON retry (generator, epoch, next_at, event) WHERE next_at IS NOT NULL;
CREATE INDEX retry_key ON retry (generator, epoch, key, position) WHERE key IS NOT NULL;

-- Retry sets that were dropped, and are removed little by little.
CREATE TABLE retry_dropped (
    generator bigint NOT NULL,
    epoch     bigint NOT NULL,
    PRIMARY KEY (generator, epoch)
);

-- What was tried. Later attempts of an endpoint have higher numbers.
CREATE TABLE delivery (
    delivery  bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    generator bigint   NOT NULL,
    at        bigint   NOT NULL,
    event     uuid     NOT NULL,
    attempt   integer  NOT NULL,
    took_ms   integer  NOT NULL,
    ended     smallint NOT NULL,
    status    smallint,
    topic     text     NOT NULL,
    error     text,
    answer    text
);

CREATE INDEX delivery_of ON delivery (generator, delivery);
