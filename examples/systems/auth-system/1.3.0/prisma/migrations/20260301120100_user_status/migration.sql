-- Expand: 1.2 goes on writing suspended_at while 1.3 writes status.
ALTER TABLE "users" ADD COLUMN "status" TEXT DEFAULT 'active';

-- The default has filled 'active' already.
UPDATE "users" SET "status" = 'suspended' WHERE "suspended_at" IS NOT NULL;

-- Whichever of the two columns is written, the other follows; on a disagreement in one INSERT, suspension wins.
CREATE FUNCTION "users_status_follows"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW."status" IS DISTINCT FROM OLD."status" THEN
        IF NEW."status" = 'suspended' THEN
            NEW."suspended_at" := COALESCE(NEW."suspended_at", CURRENT_TIMESTAMP);
        ELSE
            NEW."suspended_at" := NULL;
        END IF;
    ELSIF TG_OP = 'INSERT' AND NEW."status" = 'suspended' THEN
        NEW."suspended_at" := COALESCE(NEW."suspended_at", CURRENT_TIMESTAMP);
    ELSIF NEW."suspended_at" IS NOT NULL THEN
        NEW."status" := 'suspended';
    ELSE
        NEW."status" := 'active';
    END IF;
    RETURN NEW;
END;
$$;

CREATE TRIGGER "users_status_follows" BEFORE INSERT OR UPDATE ON "users"
    FOR EACH ROW EXECUTE FUNCTION "users_status_follows"();
