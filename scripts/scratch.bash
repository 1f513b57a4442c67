# Sourced by scripts that break the code on purpose. They work on a copy of the tree, with a build directory and servers
# of its own, all in scratch/ under cargo's target directory: your files and servers stay as they are. `tree` is the copy.

need cargo
scratch=$(target_directory)/scratch
tree=$scratch/tree
temporary=
# Whose tests have to fail.
tested=db,messaging,web,service,$(program_name)
packages=(-p db -p messaging -p web -p service -p "$(program_name)")
for sibling in "$root"/siblings/*/; do
  tested+=,$(basename "$sibling")
  packages+=(-p "$(basename "$sibling")")
done
mkdir -p "$scratch" "${SERVICES_DIR:=$root/.services}"
# Children hold the lock too, but for the servers: after `kill -9` of a script its build may go on.
if command -v flock >/dev/null; then
  exec 8>"$scratch/lock"
  flock -n 8 || fail "another run works in $scratch: wait for its end"
fi
fetched=$(cd "$SERVICES_DIR" && pwd -P)
SERVICES_DIR=$fetched "$root/scripts/services" bin >/dev/null || fail "the tests need servers, which can't be had"
SERVICES_DIR=$fetched "$root/scripts/promtool" --version >/dev/null || fail "the tests need promtool, which does not run"
# The paths are always the same, which keeps the build warm; without debug information it links faster.
export CARGO_TARGET_DIR=$scratch/build CARGO_PROFILE_DEV_DEBUG=0 SERVICES_DIR=$scratch/services

# Each copied file is as old as the copy: cargo would take one that is older than its build for unchanged.
copy_tree() {
  rm -rf "$tree"
  mkdir -p "$tree"
  tar -C "$root" --exclude=./target --exclude="$(in_tree "$scratch/..")" --exclude="$(in_tree "$fetched")" \
    --exclude=./.git --exclude=./.services --exclude=./.env -c . | tar -C "$tree" -x -m
}

in_tree() { # FOLDER: as tar names it; one outside of the tree has a name that tar gives to nothing
  local folder
  folder=$(cd "$1" && pwd -P)
  echo "./${folder#"$(cd "$root" && pwd -P)/"}"
}

# Tests that fail leave data and files behind: now and then all of that is thrown away.
fresh_servers() {
  stop_servers
  mkdir -p "$SERVICES_DIR"
  ln -s "$fetched/bin" "$fetched/python" "$SERVICES_DIR/"
  [ ! -d "$fetched/prometheus" ] || ln -s "$fetched/prometheus" "$SERVICES_DIR/prometheus"
  # TMPDIR may be the folder of before, which is gone.
  temporary=$(TMPDIR= mktemp -d)
  MONGO_PORT=$(free_port) NATS_PORT=$(free_port) TMPDIR=$temporary
  TEST_MONGO_URI="mongodb://127.0.0.1:$MONGO_PORT/?replicaSet=rs0" TEST_NATS_URL="nats://127.0.0.1:$NATS_PORT"
  export MONGO_PORT NATS_PORT TMPDIR TEST_MONGO_URI TEST_NATS_URL
  "$root/scripts/services" up >"$scratch/services.log" 2>&1 8>&- ||
    { cat "$scratch/services.log" >&2; fail "the servers for the tests do not start"; }
}

stop_servers() {
  if [ -d "$SERVICES_DIR" ]; then
    "$root/scripts/services" down 2>/dev/null
    rm -rf "$SERVICES_DIR"
  fi
  [ -z "$temporary" ] || rm -rf "$temporary"
}
trap stop_servers EXIT
