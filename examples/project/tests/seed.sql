-- For a staging database without a copy of production: one user (password "acme-demo-2026"), one quote.
INSERT INTO "users" ("email", "name", "password_hash")
VALUES ('demo@acme.example', 'Dana Demo', 'pbkdf2_sha256$50000$00112233aabbccdd$f945c9cc2c85ecf8baf14e509a8168e10976ab3f15968f0ddf4a4bcb37896456');
INSERT INTO "quotes" ("user_id", "product", "quantity", "total_cents")
SELECT "id", 'desk', 3, 74700 FROM "users" WHERE "email" = 'demo@acme.example';
INSERT INTO "notices" ("recipient", "subject", "body") VALUES ('demo@acme.example', 'Welcome', 'Good to have you here.');
