-- AlterTable
ALTER TABLE "users" ADD COLUMN "suspended_at" TIMESTAMP(3);
