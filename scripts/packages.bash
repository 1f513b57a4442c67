# Sourced by the other scripts: what is missing is fetched, or one line says what to do.

say() { echo "$(basename "$0"): $*" >&2; }
fail() { say "$*"; exit 1; }

need() { # PROGRAM…: those that nothing here fetches
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null || fail "$program is not on PATH: $(how_to_install "$program")"
  done
}

how_to_install() { # PROGRAM
  case $1 in
    cargo) echo "install Rust from https://rustup.rs" ;;
    cc) echo "install a C compiler (Debian: apt-get install gcc libc6-dev; macOS: xcode-select --install)" ;;
    *) echo "install it (Debian: apt-get install $1)" ;;
  esac
}

# Runs what fetches or stores something, without its output. Where it fails, `why` is the reason, in one line.
try() { # COMMAND…
  local output
  output=$("$@" 2>&1) || {
    why=$(reason "$output")
    return 1
  }
}

reason() { # OUTPUT of a command that failed
  local free_kib
  free_kib=$(df -Pk "${SERVICES_DIR:-$root/.services}" 2>/dev/null | awk 'END { print $4 }')
  case $1 in
    *"onnection broken"* | *" resolv"* | *"Failed to fetch"* | *"Unable to locate package"*)
      echo "there is no network, or no way through it to the packages" ;;
    *"No space left on device"*) echo "the disk is full" ;;
    *"DO NOT MATCH THE HASHES"*) echo "what PyPI has is not what was there when its hash was written down" ;;
    *) if [ "${free_kib:-1024}" -lt 1024 ]; then echo "the disk is full"; else echo "${1##*$'\n'}"; fi ;;
  esac
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
    fail "root or sudo is needed for: $*"
  fi
}

apt_install() { # PACKAGE…; where it fails, `why` says so
  why="there is no apt-get"
  command -v apt-get >/dev/null || return 1
  say "installing Debian packages: $*"
  try as_root apt-get -o DPkg::Lock::Timeout=300 update -q &&
    try as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends "$@"
}

# Prints the path of a program from PyPI, in a virtual environment of its own.
python_program() { # FOLDER PROGRAM VERSION [PACKAGE [SHA256…]]
  local program
  mkdir -p "$1"
  program=$(cd "$1" && pwd)/bin/$2
  "$program" --version 2>/dev/null | grep -qF "$3" || python_package "$1" "${4:-$2}" "$3" "${@:5}"
  echo "$program"
}

fetch_schemathesis() { # prints its path
  python3 -c "import sys; sys.exit(sys.version_info < (3, 11))" || fail "make fuzz and make test need Python 3.11 or newer, and python3 is $(python3 --version)"
  python_program "${SERVICES_DIR:-$root/.services}/fuzz" schemathesis 4.32.5
}

# Makes the folder a virtual environment with a package from PyPI, whose files have these hashes. Of one that needs others,
# scripts/locked/PACKAGE.txt has those of all, for any system.
python_package() { # FOLDER PACKAGE VERSION [SHA256…]
  local wanted="$2==$3" locked="$root/scripts/locked/$2.txt"
  if [ $# -ge 4 ]; then
    wanted+=$(printf ' --hash=sha256:%s' "${@:4}")
  else
    grep -qF "$wanted " "$locked" || fail "$locked has not the hashes of $wanted"
    wanted=$(cat "$locked")
  fi
  need python3
  say "fetching $2 $3 from PyPI"
  python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv ||
    fail "python3 can't make a virtual environment, and python3-venv can't be installed: $why"
  try python3 -m venv --clear "$1" && echo "$wanted" >"$1/wanted.txt" &&
    try "$1/bin/pip" --disable-pip-version-check install --require-hashes --requirement "$1/wanted.txt" ||
    fail "$2 $3 can't be fetched from PyPI: $why${instead:+; else $instead}"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# The package's name, which is that of the program and, where MONGO_URI names none, of the database.
program_name() { sed -n '/^\[package\]/,/^name/ s/^name = "\(.*\)"/\1/p' "$root/Cargo.toml"; }

# Asked of cargo: CARGO_TARGET_DIR and cargo's own settings move it.
target_directory() {
  cargo metadata --locked --no-deps --format-version 1 --manifest-path "$root/Cargo.toml" |
    sed -nE 's/.*"target_directory":"([^"]+)".*/\1/p'
}
