#!/usr/bin/env bash
# What a careful person types to upgrade the example by hand: merge, masked copy, migrations, checks, production.
# Wanted in the environment: REPOSITORY, WORK (an empty folder), PRODUCTION_URL, STAGING_URL (of a database that
# is not there yet) and SERVER_URL, OLD and NEW (packages unpacked), HOSTING_URL, RUN.
set -euo pipefail

system=auth-system
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=Ada GIT_AUTHOR_EMAIL=ada@acme.example
export GIT_COMMITTER_NAME=Ada GIT_COMMITTER_EMAIL=ada@acme.example APP_TITLE=Acme
sql() { psql -X -q -v ON_ERROR_STOP=1 "$@"; }
staging() { DATABASE_URL=$STAGING_URL UPGRADEPATH_ENVIRONMENT=staging UPGRADEPATH_RUN=$RUN "$@"; }
production() { DATABASE_URL=$PRODUCTION_URL UPGRADEPATH_ENVIRONMENT=production UPGRADEPATH_RUN= "$@"; }
vendor() { # vendor BRANCH PACKAGE: the pristine files of a package, as a commit
  git switch -q -C "$1"
  rm -rf "systems/$system" && cp -r "$2/files" "systems/$system"
  cp "$2/prisma/schema.prisma" "prisma/schema/$system.prisma"
  git add -A && git commit -q --allow-empty -m "$1"
}

# Apply: what changed between the two packages, onto what the partner made of the first.
git clone -q "$REPOSITORY" "$WORK/checkout" && cd "$WORK/checkout"
vendor pristine-old "$OLD" && vendor pristine-new "$NEW"
git switch -q -C upgrade origin/main
git cherry-pick pristine-new >/dev/null
echo "event_retention_days = 90" >>config/$system.toml
sed -i "s/^$system: .*/$system: $(basename "$NEW")/" version-map.yaml

# The new migrations, stamped after the Project's last one.
last=$(find prisma/migrations -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort | tail -1)
stamp=${last%%_*}
expand=() contract=()
for each in "$NEW"/prisma/migrations/*/; do
  name=$(basename "$each")
  [ -d "$OLD/prisma/migrations/$name" ] && continue
  stamp=$((stamp + 100))
  cp -r "$each" "prisma/migrations/${stamp}_${system}_${name#*_}"
  if grep -q "contract.*\"$name\"" "$NEW/system.toml"; then
    contract+=(-f "prisma/migrations/${stamp}_${system}_${name#*_}/migration.sql")
  else
    expand+=(-f "prisma/migrations/${stamp}_${system}_${name#*_}/migration.sql")
  fi
done
git add -A && git commit -q -m "Upgrade $system" && git push -q origin upgrade

# Prepare: production's rows, masked once they are there.
sql "$SERVER_URL" -c "CREATE DATABASE \"${STAGING_URL##*/}\""
pg_dump -Fc -Z0 "$PRODUCTION_URL" | pg_restore -d "$STAGING_URL"
sql "$STAGING_URL" <<'SQL'
UPDATE users SET email = md5(email) || '@masked.example', name = 'Person ' || md5(name), password_hash = md5(password_hash);
UPDATE sessions SET token = md5(token);
UPDATE crm_exports SET email = md5(email) || '@masked.example', line = md5(line);
UPDATE notices SET recipient = md5(recipient) || '@masked.example', body = md5(body);
UPDATE invitations SET token = md5(token), email = md5(email) || '@masked.example', name = md5(name),
    company = md5(company), phone = NULL;
SQL

# Migrate, and start the app.
sql -1 "$STAGING_URL" "${expand[@]}" "${contract[@]}"
export UPGRADEPATH_COMMIT=$(git rev-parse HEAD)
address=$(staging python hosting/activate.py | sed -n 's/^address=//p')
staging python hosting/health.py >/dev/null

# The same checks.
export UPGRADEPATH_ADDRESS=$address
staging python -m unittest discover -s tests -t . 2>/dev/null
curl -fsS "$address/signin" | grep -q "Welcome to Acme"
curl -sS -d "email=nobody@acme.example&password=not-the-password" "$address/signin" | grep -q "do not match"
[ "$(sql -At "$STAGING_URL" -c "select count(*) from users where status is null")" = 0 ]
staging python hosting/logs.py | { ! grep -E "Traceback|ERROR"; }
staging python -m portal.workflows >/dev/null
curl -fsS "$address/terms" | grep -q "45 minutes"
[ "$(sql -At "$STAGING_URL" -c "select count(*) from crm_exports e left join quotes q on q.id = e.quote_id
  where q.id is null")" = 0 ]
staging python hosting/logs.py | { ! grep -E "crm export failed|Traceback"; }

# Deploy: backup, expand, merge, activate, contract.
pg_dump -Fc -f "$WORK/backup.dump" "$PRODUCTION_URL" && pg_restore --list "$WORK/backup.dump" >/dev/null
sql -1 "$PRODUCTION_URL" "${expand[@]}"
git switch -q -C main origin/main && git merge -q --no-ff -m "Upgrade $system" upgrade && git push -q origin main
export UPGRADEPATH_COMMIT=$(git rev-parse HEAD)
production python hosting/activate.py >/dev/null
production python hosting/health.py >/dev/null
sql -1 "$PRODUCTION_URL" "${contract[@]}"
production python hosting/health.py >/dev/null
[ "$(production python hosting/observe.py)" = "$UPGRADEPATH_COMMIT" ]

# Nothing of staging is left.
staging python hosting/destroy.py
sql "$SERVER_URL" -c "DROP DATABASE \"${STAGING_URL##*/}\" WITH (FORCE)"
git push -q origin :upgrade
