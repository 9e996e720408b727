#!/usr/bin/env bash
# Prepare the virtual environment for one way of working: scripts/bootstrap.sh demo|dev|bench
#
# Safe to run any number of times: a second run with nothing changed returns at once. Every package comes from the
# constraints file of the environment's Python and is checked against the hash recorded there. Needs no root, no Java.
#
#   VENV     where the environment lives (default .venv)
#   PYTHON   the interpreter to build it with (default: the first usable one found)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

profile=${1:?usage: scripts/bootstrap.sh demo|dev|bench}
venv=${VENV:-.venv}
# Without this, where it is set, every Airflow process compiles the whole of Airflow again.
unset PYTHONDONTWRITEBYTECODE

case $profile in
  demo) satisfies=(demo) ;;
  dev | bench) satisfies=("$profile" demo) ;;
  *) echo "bootstrap: there is no profile '$profile': choose demo, dev or bench" >&2; exit 2 ;;
esac

# What the demo imports most. Compiling these on all cores beforehand costs what it saves in the first start of Airflow,
# whose four processes would otherwise each compile the same files at the same moment. The rest compiles when imported.
compiled=(airflow alembic cadwyn cryptography fastapi libcst numpy opentelemetry pandas pydantic pyiceberg rich sqlalchemy
  starlette)

say() { printf 'bootstrap: %s\n' "$*" >&2; }

# The tested minor version of an interpreter, or failure. It is run, not only found: a name on PATH may be a shim.
tested_version() {
  local version
  version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || return 1
  [[ -f constraints/constraints-$version.txt ]] || return 1
  echo "$version"
}

find_python() {
  local candidate
  if [[ -n ${PYTHON:-} ]]; then
    tested_version "$PYTHON" >/dev/null && echo "$PYTHON" && return
    say "PYTHON=$PYTHON does not run, or is not one of: $(supported)"
    return 1
  fi
  for candidate in python3.12 python3.13 python3.14 python3 python \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[234]*/bin/python3 \
    "$HOME"/.local/share/uv/python/cpython-3.1[234]*/bin/python3 \
    /usr/local/bin/python3.1[234] /opt/homebrew/bin/python3.1[234] /opt/python*/bin/python3; do
    tested_version "$candidate" >/dev/null && echo "$candidate" && return
  done
  say "found no Python $(supported). Install one of them, or name it: make PYTHON=/path/to/python3.12 $profile"
  return 1
}

supported() {
  local file list=()
  for file in constraints/constraints-*.txt; do file=${file##*-}; list+=("${file%.txt}"); done
  echo "${list[*]}"
}

make_environment() {
  local python
  python=$(find_python)
  say "creating $venv with $("$python" --version) ($(command -v "$python"))"
  if command -v uv >/dev/null; then
    uv venv --quiet --no-project --python "$python" "$venv"
  elif ! "$python" -m venv "$venv"; then
    rm -rf "$venv"
    say "this Python cannot create environments: install its venv package (Debian: python3-venv), or uv"
    return 1
  fi
}

# Sets uv: the environment's own, or the one on PATH, or one installed into the environment.
find_uv() {
  if [[ ! -x $venv/bin/uv ]] && command -v uv >/dev/null; then
    uv=(uv)
    return
  fi
  if [[ ! -x $venv/bin/uv ]]; then
    say "installing uv into $venv"
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
      --requirement <(awk '/^uv==/ { found = 1 } found { print; if (!/\\$/) exit }' "$constraints")
  fi
  uv=("$venv/bin/uv")
}

if [[ ! -e $venv/bin/python && ! -L $venv/bin/python ]]; then make_environment; fi
if ! version=$(tested_version "$venv/bin/python"); then
  say "$venv/bin/python does not run, or is not Python $(supported). Remove $venv and run this again."
  exit 1
fi
constraints=constraints/constraints-$version.txt

stamps=$venv/.lakehouse
state=$(cat pyproject.toml "$constraints" scripts/bootstrap.sh | cksum)
if [[ -f $stamps/$profile && $(<"$stamps/$profile") == "$state" ]]; then exit 0; fi

find_uv
VIRTUAL_ENV=$(cd "$venv" && pwd)
export VIRTUAL_ENV
say "installing the $profile environment from $constraints"
"${uv[@]}" pip install --quiet --require-hashes --constraint "$constraints" --requirement pyproject.toml --extra "$profile"
"${uv[@]}" pip install --quiet --no-deps --build-constraint "$constraints" --editable .

site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
present=()
for package in "${compiled[@]}"; do if [[ -d $site/$package ]]; then present+=("$site/$package"); fi; done
"$venv/bin/python" -m compileall -q -j 0 -x '/(tests?|example_dags|versions|dialects/(mssql|mysql|oracle))/' "${present[@]}" || true

mkdir -p "$stamps"
for name in "${satisfies[@]}"; do echo "$state" >"$stamps/$name"; done
say "ready in ${SECONDS} s"
