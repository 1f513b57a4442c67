# Sourced by scripts that try the service: runs the debug build with data of this run's own, and tidies up in the end.
# Sets `program`, its path, `address`, and `log`, the service's.

. "$root/scripts/ports.bash"
. "$root/scripts/mongo.bash"
name=run$$
service=
folder=$(mktemp -d) # outside of the clone, so that no .env is read
log=$folder/log

delete_stream() { # and wait for the answer
  exec 3<>"/dev/tcp/127.0.0.1/$nats_port"
  printf 'CONNECT {"verbose":false}\r\nSUB %s.reply 1\r\nPUB $JS.API.STREAM.DELETE.%s %s.reply 0\r\n\r\n' "$name" "$name" "$name" >&3
  timeout 5 grep -q -m 1 stream_delete_response <&3
}

tidy() {
  if [ -n "$service" ]; then
    kill "$service" 2>/dev/null || true
    wait "$service" 2>/dev/null || true
    mongo_command "mongodb://127.0.0.1:$mongo_port/$name?directConnection=true" '{"dropDatabase": 1}' >/dev/null 2>&1 ||
      say "the database $name stays behind in MongoDB"
    (delete_stream) 2>/dev/null || say "the stream $name stays behind in NATS"
  fi
  rm -rf "$folder"
}

is_ready() {
  address=$(sed -nE 's/.*address=([0-9.:]+).*/\1/p' "$log" | head -n 1)
  [ -n "$address" ] && LISTEN_ADDR=$address "$program" healthcheck 2>/dev/null
}

start_own_service() {
  fetch_pymongo
  # With the tests: so are the dependencies' features the same as theirs, and nothing is built twice.
  cargo build --locked --workspace --tests --manifest-path "$root/Cargo.toml"
  program=$(target_directory)/debug/$(program_name)
  cd "$folder"
  trap tidy EXIT
  unset JWT_PUBLIC_KEY_FILE JWT_KEY_PREVIOUS JWKS_URL JWT_ISSUER JWT_AUDIENCE TRUSTED_PROXIES ADMIN_TOKEN ADMIN_HOSTS
  export MONGO_URI="mongodb://127.0.0.1:$mongo_port/$name?replicaSet=rs0"
  export NATS_URL="nats://127.0.0.1:$nats_port" NATS_STREAM=$name NATS_SUBJECT_PREFIX=$name
  export JWT_KEY="a key of this run's own: $name $RANDOM $RANDOM" RATE_LIMIT=0 WRITE_RATE_LIMIT=0 STOP_DELAY=0s
  export LISTEN_ADDR=127.0.0.1:0 ADMIN_ADDR=127.0.0.1:0 RUST_LOG=info LOG_FORMAT=text
  touch "$log"
  "$program" serve 2>"$log" &
  service=$!
  local deadline=$((SECONDS + 20))
  until is_ready; do
    kill -0 "$service" 2>/dev/null && [ "$SECONDS" -lt "$deadline" ] || {
      tail -n 20 "$log" >&2
      fail "the service is not ready, above is what it said last; make services starts its servers"
    }
    sleep 0.1
  done
}
