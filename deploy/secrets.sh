#!/bin/sh
# Makes every secret that docker-compose.yml names, one file each. A file that is there stays as it
# is: write your own first where you have one, such as the URLs of a PostgreSQL that you already run.
#
#   sh deploy/secrets.sh [folder]
#
# Docker mounts such a file with the owner and mode it has here, so that programs which are not you
# must be able to read it. The folder is what keeps others out.
set -eu
folder=${1:-$(dirname "$0")/../secrets}
umask 022
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

random() { head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; } # fit for a URL
keep() { [ -s "$1" ] || printf '%s' "$2" >"$1"; }
database() { keep "$1" "$2:$(random)@postgres:5432/$3"; }

keep postgres_password "$(random)"
keep sluice_database_url \
    "postgresql://sluice_administrator:$(cat postgres_password)@postgres:5432/sluice"
database sluice_catalog_url postgresql://sluice_app sluice
database sluice_landing_url postgresql://sluice_landing sluice
database airflow_database_url postgresql+psycopg2://airflow airflow
database helpdesk_url postgresql://helpdesk helpdesk

keep redis_password "$(random)"
keep airflow_broker_url "redis://:$(cat redis_password)@redis:6379/0"
keep airflow_secret_key "$(random)"
keep airflow_jwt_secret "$(random)"
keep airflow_fernet_key "$(random)=" # 32 bytes in base64, padded
keep airflow_login "{\"admin\": \"$(random)\"}"
keep sluice_weaviate_api_key "$(random)"
