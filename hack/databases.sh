#!/usr/bin/env bash
# Installs the database servers that tests start, if they are missing and this is root on Debian or
# Ubuntu. Without them, those tests are skipped and say so.
set -euo pipefail

if { command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; } &&
  { command -v mariadbd >/dev/null || [ -x /usr/sbin/mariadbd ]; }; then
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "PostgreSQL or MariaDB is missing: tests with databases are skipped" >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# No server of the distribution's own: the tests start theirs.
install() { apt-get install -y -qq --no-install-recommends postgresql mariadb-server >/dev/null 2>&1; }
install || { apt-get update -qq && install; } ||
  echo "PostgreSQL or MariaDB cannot be installed: tests with databases are skipped" >&2
for service in postgresql mariadb; do
  service "$service" stop >/dev/null 2>&1 || true
done
