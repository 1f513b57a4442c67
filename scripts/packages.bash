# Sourced by the other scripts: what they are missing is fetched, or they say what to install.

say() { echo "$(basename "$0"): $*" >&2; }
fail() { say "$*"; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
    fail "root or sudo is needed for: $*"
  fi
}

apt_install() { # PACKAGE…: fails where there is no apt-get
  command -v apt-get >/dev/null || return 1
  say "installing Debian packages: $*"
  as_root apt-get -o DPkg::Lock::Timeout=300 update -q >&2
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends "$@" >&2
}

python_program() { # FOLDER NAME VERSION: prints the path of a program from PyPI, in a virtual environment of its own
  mkdir -p "$1"
  local program
  program=$(cd "$1" && pwd)/bin/$2
  if ! "$program" --version 2>/dev/null | grep -qF "$3"; then
    say "fetching $2 $3 from PyPI"
    python3 -m venv --clear "$1" >/dev/null || { apt_install python3-venv && python3 -m venv --clear "$1"; } ||
      fail "python3 cannot make a virtual environment: install python3-venv"
    "$1/bin/pip" --quiet --disable-pip-version-check install "$2==$3" >&2
  fi
  echo "$program"
}
