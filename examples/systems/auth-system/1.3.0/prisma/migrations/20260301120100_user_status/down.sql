-- suspended_at has followed status, so nothing is lost.
DROP TRIGGER "users_status_follows" ON "users";
DROP FUNCTION "users_status_follows"();
ALTER TABLE "users" DROP COLUMN "status";
