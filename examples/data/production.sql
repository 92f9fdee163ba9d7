-- Production's rows at the start: 200 users and what they did. All people are made up.
-- demo@acme.example signs in with the password "acme-demo-2026", and so does everybody else.
INSERT INTO "users" ("email", "name", "password_hash", "suspended_at", "created_at")
VALUES ('demo@acme.example', 'Dana Demo', 'pbkdf2_sha256$50000$00112233aabbccdd$f945c9cc2c85ecf8baf14e509a8168e10976ab3f15968f0ddf4a4bcb37896456', NULL, '2025-07-14 09:00:00');

INSERT INTO "users" ("email", "name", "password_hash", "suspended_at", "created_at")
SELECT
    lower(first_name || '.' || last_name || n || '@' || domain),
    first_name || ' ' || last_name,
    'pbkdf2_sha256$50000$00112233aabbccdd$f945c9cc2c85ecf8baf14e509a8168e10976ab3f15968f0ddf4a4bcb37896456',
    CASE WHEN n % 23 = 0 THEN timestamp '2025-11-01 10:00:00' + n * interval '3 hours' END,
    timestamp '2025-07-15 08:00:00' + n * interval '19 hours'
FROM (
    SELECT
        n,
        (ARRAY['Anna','Bilal','Carla','Deniz','Elif','Femi','Greta','Hugo','Ines','Jonas','Kaito','Lena'])[1 + n % 12]
            AS first_name,
        (ARRAY['Abel','Brandt','Costa','Diallo','Eriksen','Fuchs','Garcia','Haddad','Ito','Jansen','Kowalski'])[1 + n % 11]
            AS last_name,
        (ARRAY['harbour-hotel.example','north-clinic.example','oak-school.example','lumen-studio.example'])[1 + n % 4]
            AS domain
    FROM generate_series(1, 199) AS n
) AS people
ORDER BY n;

INSERT INTO "sessions" ("token", "user_id", "created_at", "expires_at")
SELECT md5('session ' || "id"), "id", timestamp '2026-02-27 08:00:00', timestamp '2026-02-27 08:45:00'
FROM "users" WHERE "id" % 5 = 0;

INSERT INTO "quotes" ("user_id", "product", "quantity", "total_cents", "created_at")
SELECT
    "id", 'chair', 2 + "id" % 7, 13900 * (2 + "id" % 7), timestamp '2026-01-05 09:00:00' + "id" * interval '5 hours'
FROM "users" WHERE "id" % 2 = 0 AND "suspended_at" IS NULL ORDER BY "id";

INSERT INTO "crm_exports" ("quote_id", "email", "line", "exported_at")
SELECT
    q."id", u."email",
    format('Q%s;%s;%s;%s;%s', lpad(q."id"::text, 5, '0'), u."email", q."product", q."quantity",
        to_char(q."total_cents" / 100.0, 'FM999990.00')),
    q."created_at"
FROM "quotes" AS q JOIN "users" AS u ON u."id" = q."user_id" ORDER BY q."id";

INSERT INTO "invitations" ("token", "email", "name", "company", "phone", "step", "invited_by_id", "expires_at")
SELECT
    md5('invitation ' || n), 'guest' || n || '@new-customer.example',
    CASE WHEN n % 3 > 0 THEN 'Guest Number ' || n END,
    CASE WHEN n % 3 > 1 THEN 'New Customer ' || n || ' Ltd' END,
    CASE WHEN n % 3 > 1 THEN '+49 30 555 ' || lpad(n::text, 4, '0') END,
    n % 3, 1, CURRENT_TIMESTAMP + interval '10 days'
FROM generate_series(1, 30) AS n;

INSERT INTO "notices" ("recipient", "subject", "body", "created_at", "read_at")
SELECT
    "email", 'Welcome', 'Good to have you here, ' || "name" || '.', "created_at",
    CASE WHEN "id" % 4 > 0 THEN "created_at" + interval '1 day' END
FROM "users" ORDER BY "id";
