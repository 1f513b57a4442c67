# Sourced by scripts that break the code on purpose. They work on a copy of the tree, with a build directory and servers
# of its own, under target/scratch/: neither your files nor your servers are touched. `tree` is the copy.

scratch=${CARGO_TARGET_DIR:-$root/target}/scratch
tree=$scratch/tree
# Whose tests have to fail.
tested=db,messaging,tickets
packages=(-p db -p messaging -p tickets)
mkdir -p "$scratch" "${SERVICES_DIR:=$root/.services}"
fetched=$(cd "$SERVICES_DIR" && pwd)
SERVICES_DIR=$fetched "$root/scripts/services" bin >/dev/null
SERVICES_DIR=$fetched "$root/scripts/promtool" --version >/dev/null 2>&1
# The paths are always the same, which keeps the build warm; without debug information it links faster.
export CARGO_TARGET_DIR=$scratch/build CARGO_PROFILE_DEV_DEBUG=0 SERVICES_DIR=$scratch/services TMPDIR=

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Each copied file is as old as the copy: cargo would take one that is older than its build for unchanged.
copy_tree() {
  rm -rf "$tree"
  mkdir -p "$tree"
  tar -C "$root" --exclude=./target --exclude=./.git --exclude=./.services --exclude=./.env -c . | tar -C "$tree" -x -m
}

# Tests that fail leave data and files behind: now and then all of that is thrown away.
fresh_servers() {
  stop_servers
  mkdir -p "$SERVICES_DIR"
  ln -s "$fetched/bin" "$fetched/python" "$SERVICES_DIR/"
  [ ! -d "$fetched/prometheus" ] || ln -s "$fetched/prometheus" "$SERVICES_DIR/prometheus"
  MONGO_PORT=$(free_port) NATS_PORT=$(free_port) TMPDIR=$(mktemp -d /tmp/scratch.XXXXXX)
  TEST_MONGO_URI="mongodb://127.0.0.1:$MONGO_PORT/?replicaSet=rs0" TEST_NATS_URL="nats://127.0.0.1:$NATS_PORT"
  export MONGO_PORT NATS_PORT TMPDIR TEST_MONGO_URI TEST_NATS_URL
  "$root/scripts/services" up >"$scratch/services.log" 2>&1 ||
    { cat "$scratch/services.log" >&2; fail "the servers for the tests do not start"; }
}

stop_servers() {
  if [ -d "$SERVICES_DIR" ]; then
    "$root/scripts/services" down 2>/dev/null
    rm -rf "$SERVICES_DIR"
  fi
  [ -z "$TMPDIR" ] || rm -rf "$TMPDIR"
}
trap stop_servers EXIT
