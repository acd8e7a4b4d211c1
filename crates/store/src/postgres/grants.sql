-- What a role needs to run a worker, and nothing else: no right to create, change or drop.
--
-- Run by the owner of the schema. From psql:
--
--     SET search_path = taskwright;
--     SET taskwright.grantee = 'the_role';
--     \i grants.sql
--
-- Running it again changes nothing.

DO $$
DECLARE
    schema  text := current_schema();
    grantee text := current_setting('taskwright.grantee');
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', schema, grantee);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO %I', schema, grantee);
    EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA %I TO %I', schema, grantee);
    EXECUTE format('GRANT EXECUTE ON ALL ROUTINES IN SCHEMA %I TO %I', schema, grantee);

    -- What has been applied is for the owner to write down.
    EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON %I.migration FROM %I', schema, grantee);

    -- The same for what later migrations of this owner make.
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I',
                   schema, grantee);
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT USAGE ON SEQUENCES TO %I', schema, grantee);
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT EXECUTE ON ROUTINES TO %I', schema, grantee);
END
$$;
