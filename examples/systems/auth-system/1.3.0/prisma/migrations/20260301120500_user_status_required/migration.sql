-- Contract: every row has a status since the migration before, also the rows that 1.2 writes.
ALTER TABLE "users" ALTER COLUMN "status" SET NOT NULL;
