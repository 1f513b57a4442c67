"""The servers and the load of scripts/live-page.py."""

import argparse, http.client, json, os, pathlib, signal, socket, subprocess, threading, time

options = argparse.ArgumentParser()
for name in ["chromium", "nats", "nats-port", "folder", "log", "service", "address", "token", "prefix", "program", "pymongo", "pictures"]:
    options.add_argument(f"--{name}", required=True)
options.add_argument("--seconds", type=int, default=5, help="of load before the pictures")
options.add_argument("--limit", type=int, default=20, help="in seconds, for what is waited for; more on a slow machine")
options.add_argument("--two-looks", action="store_true", help="light and wide, dark and narrow; not all four")
given = options.parse_args()
LARGEST = 2000  # in bytes, of a message


class Nats:
    """A server of this run's own, which can be stopped."""

    def __init__(self):
        self.config = pathlib.Path(given.folder, "nats.conf")
        self.running = None

    def allow(self, bytes):
        store = pathlib.Path(given.folder, "nats")
        self.config.write_text(f'listen: "127.0.0.1:{given.nats_port}"\nmax_payload: {bytes}\njetstream {{ store_dir: "{store}" }}\n')
        if self.running:
            self.running.send_signal(signal.SIGHUP)

    def start(self):
        self.running = subprocess.Popen([given.nats, "-c", self.config], stderr=subprocess.DEVNULL)
        until("NATS answers", lambda: self.ask("$JS.API.INFO", {}))

    def stop(self):
        self.running.terminate()
        self.running.wait()

    def ask(self, subject, body):
        """The answer to a request, over a connection of its own."""
        try:
            with socket.create_connection(("127.0.0.1", int(given.nats_port)), timeout=2) as link:
                payload = json.dumps(body).encode()
                link.sendall(b'CONNECT {"verbose":false}\r\nSUB answer 1\r\n' + f"PUB {subject} answer {len(payload)}\r\n".encode() + payload + b"\r\n")
                lines = link.makefile("rb")
                while not lines.readline().startswith(b"MSG "):
                    pass
                return json.loads(lines.readline())
        except OSError:
            return None


def until(what, is_so):
    deadline = time.monotonic() + given.limit
    while time.monotonic() < deadline:
        found = is_so()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {given.limit} s: {what}")


def create_ticket(title):
    connection = http.client.HTTPConnection(given.address, timeout=given.limit)
    headers = {"Authorization": f"Bearer {given.token}", "Content-Type": "application/json"}
    connection.request("POST", "/api/tickets", json.dumps({"title": title, "price": 20.5}), headers)
    answer = connection.getresponse()
    assert answer.status == 201, f"POST /api/tickets: {answer.status} {answer.read()}"
    return json.load(answer)["id"]


class Load:
    """Tickets, and an order for each, as long as it goes on."""

    def __init__(self, nats, pause):
        self.nats, self.pause, self.orders, self.has_ended = nats, pause, True, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.has_ended.wait(self.pause * (1 + (time.monotonic() % 7) / 4)):
            ticket = create_ticket("Concert in the park")
            if self.orders:
                order(self.nats, os.urandom(12).hex(), ticket)

    def end(self):
        self.has_ended.set()
        self.thread.join()


def plant_events(noun, titles):
    """As a script or another program may write them."""
    common = {"type": "ticket.created", "version": {"$numberLong": "0"}, "sent": "NO", "createdAt": {"$date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}}
    keys = {os.urandom(12).hex(): title for title in titles}
    events = [common | {"_id": {"$oid": key}, "key": key, "subject": f"{noun}.created.{key}", "data": {"title": title}} for key, title in keys.items()]
    insert = "import sys; from bson import json_util; from pymongo import MongoClient; MongoClient(sys.argv[1]).get_default_database().events.insert_many(json_util.loads(sys.argv[2]))"
    subprocess.run([given.pymongo, "-c", insert, os.environ["MONGO_URI"], json.dumps(events)], check=True)


def order(nats, key, ticket):
    return tell(nats, key, {"version": 0, "ticket": {"id": ticket}})


def tell(nats, key, payload):
    """A message of the service that orders."""
    return nats.ask(f"{given.prefix}.order.created.{key}", payload)
