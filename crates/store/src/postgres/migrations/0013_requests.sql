-- Requests that stored jobs, so that one that is sent again stores nothing. key is a hash of who sent it, where, and of what they call
-- it, body one of what it asked for, jobs the ids of its jobs, 16 bytes each; NULL until they are stored, in the same transaction. They
-- are known for 24 h; created_at is in UTC microseconds since 1970.
CREATE TABLE request (
    key        bytea  PRIMARY KEY,
    body       bytea  NOT NULL,
    jobs       bytea,
    created_at bigint NOT NULL
);

CREATE INDEX request_age ON request (created_at);
