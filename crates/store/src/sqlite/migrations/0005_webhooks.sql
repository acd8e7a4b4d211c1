-- Endpoints of webhooks (docs/design/0020-webhooks.md). All times are UTC microseconds since 1970.

-- An endpoint, by the generator that delivers to it. topics and definition are JSON that is not read here. epoch says which of its
-- retry sets counts; listens, whether it waits to be told of new events.
CREATE TABLE taskwright_webhook (
    generator  INTEGER PRIMARY KEY,
    epoch      INTEGER NOT NULL,
    listens    INTEGER NOT NULL,
    topics     TEXT    NOT NULL,
    definition TEXT    NOT NULL
) STRICT;

CREATE INDEX taskwright_webhook_listens ON taskwright_webhook (generator) WHERE listens;

-- Up to which key events are not kept any more, so that it can be told how many nobody was told of.
CREATE TABLE taskwright_log_gone (
    single   INTEGER PRIMARY KEY CHECK (single = 1),
    position INTEGER NOT NULL
) STRICT;

INSERT INTO taskwright_log_gone (single, position) VALUES (1, 0);

-- Events that could not be delivered, with what is to be told of them when they are not kept any more. One without next_at waits for the one of its key before it, by position.
CREATE TABLE taskwright_retry (
    generator INTEGER NOT NULL,
    epoch     INTEGER NOT NULL,
    event     INTEGER NOT NULL,
    id        BLOB    NOT NULL,
    topic     TEXT    NOT NULL,
    position  INTEGER NOT NULL,
    key       TEXT,
    attempts  INTEGER NOT NULL,
    next_at   INTEGER,
    PRIMARY KEY (generator, epoch, event)
) STRICT, WITHOUT ROWID;

CREATE INDEX taskwright_retry_next ON taskwright_retry (generator, epoch, next_at, event) WHERE next_at IS NOT NULL;
CREATE INDEX taskwright_retry_key ON taskwright_retry (generator, epoch, key, position) WHERE key IS NOT NULL;

-- Retry sets that were dropped, and are removed little by little.
CREATE TABLE taskwright_retry_dropped (
    generator INTEGER NOT NULL,
    epoch     INTEGER NOT NULL,
    PRIMARY KEY (generator, epoch)
) STRICT, WITHOUT ROWID;

-- What was tried. Later attempts have higher numbers.
CREATE TABLE taskwright_delivery (
    delivery  INTEGER PRIMARY KEY AUTOINCREMENT,
    generator INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    event     BLOB    NOT NULL,
    topic     TEXT    NOT NULL,
    attempt   INTEGER NOT NULL,
    ended     INTEGER NOT NULL,
    status    INTEGER,
    took_ms   INTEGER NOT NULL,
    error     TEXT,
    answer    TEXT
) STRICT;

CREATE INDEX taskwright_delivery_of ON taskwright_delivery (generator, delivery);
