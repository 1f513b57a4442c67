# Sourced by the other scripts, which have set `root`: one command to MongoDB, so that nobody has to install mongosh.

mkdir -p "${SERVICES_DIR:-$root/.services}"
python=$(cd "${SERVICES_DIR:-$root/.services}" && pwd)/python

fetch_pymongo() {
  "$python/bin/python" -c 'import pymongo' 2>/dev/null || python_package "$python" pymongo 4.20.1
}

mongo_command() { # URI COMMAND: prints the reply as JSON; of one that holds a cursor its first batch, one document a line
  "$python/bin/python" - "$(program_name)" "$@" <<'PYTHON'
import sys
from bson import json_util
from pymongo import MongoClient
from pymongo.errors import PyMongoError

program, uri, command = sys.argv[1:]
try:
    client = MongoClient(uri, serverSelectionTimeoutMS=2000)
    reply = client.get_default_database(program).command(json_util.loads(command))
except PyMongoError as error:
    sys.exit(f"MongoDB: {error}")
for document in reply.get("cursor", {}).get("firstBatch", [reply]):
    print(json_util.dumps(document, ensure_ascii=False))
PYTHON
}
