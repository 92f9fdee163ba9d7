-- CreateTable
CREATE TABLE "crm_exports" (
    "id" SERIAL NOT NULL,
    "quote_id" INTEGER NOT NULL,
    "email" TEXT NOT NULL,
    "line" TEXT NOT NULL,
    "exported_at" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "crm_exports_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "crm_exports_quote_id_key" ON "crm_exports"("quote_id");
