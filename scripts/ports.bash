# Sourced by the other scripts, which have set `root`: the ports of MongoDB and NATS on this machine. The environment's
# MONGO_PORT and NATS_PORT win, then those of the addresses in .env, then the usual ones.

in_dotenv() { # NAME: its value in .env, without quotes; the last line of that name counts, as for the service
  [ ! -f "$root/.env" ] ||
    sed -nE "s/^[[:space:]]*(export[[:space:]]+)?$1[[:space:]]*=[[:space:]]*//p" "$root/.env" | tail -n 1 |
    sed -E -e "s/^\"([^\"]*)\".*/\1/" -e t -e "s/^'([^']*)'.*/\1/" -e t -e 's/[[:space:]].*//'
}

port_in_dotenv() { # NAME: of an address on this machine
  in_dotenv "$1" | sed -nE 's,^([a-z]+://)?([^@/]*@)?(127\.0\.0\.1|localhost):([0-9]+).*,\4,p'
}

mongo_port=${MONGO_PORT:-$(port_in_dotenv MONGO_URI)}
mongo_port=${mongo_port:-27017}
nats_port=${NATS_PORT:-$(port_in_dotenv NATS_URL)}
nats_port=${nats_port:-4222}
