-- How many items of a generator have ended since it was taken, and after how many of these somebody has to look before the time
-- that next says (docs/design/0019-generators.md); 0 waits for none.
ALTER TABLE generator ADD COLUMN ended bigint NOT NULL DEFAULT 0, ADD COLUMN look_after bigint NOT NULL DEFAULT 0;

-- What its generator called a job that is a dead letter; while it is an outstanding item, item says so.
ALTER TABLE job ADD COLUMN item_key text;

-- What each file looked like when it became an item of a generator of files (docs/design/0022-directory-and-deadline-generators.md);
-- open while that item is outstanding. Paths are ordered by their bytes.
CREATE TABLE file (
    generator   bigint  NOT NULL,
    size        bigint  NOT NULL,
    modified_ns bigint  NOT NULL,
    open        boolean NOT NULL,
    path        text    COLLATE "C" NOT NULL,
    PRIMARY KEY (generator, path)
);
