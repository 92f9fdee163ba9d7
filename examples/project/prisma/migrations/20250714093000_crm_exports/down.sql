DROP TABLE "crm_exports";
