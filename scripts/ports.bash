# Sourced by the other scripts, which have set `root`: the ports of MongoDB and NATS on this machine. The environment's
# MONGO_PORT and NATS_PORT win, then those of the addresses in .env, then the usual ones.

port_in_dotenv() { # NAME
  [ ! -f "$root/.env" ] || sed -nE "s|^$1=[a-z]+://127\.0\.0\.1:([0-9]+).*|\1|p" "$root/.env" | head -n 1
}

mongo_port=${MONGO_PORT:-$(port_in_dotenv MONGO_URI)}
mongo_port=${mongo_port:-27017}
nats_port=${NATS_PORT:-$(port_in_dotenv NATS_URL)}
nats_port=${nats_port:-4222}
