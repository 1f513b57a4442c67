"""What scripts/try-live-page does in the browser, and to NATS and the service meanwhile."""

import argparse, atexit, http.client, json, os, pathlib, re, signal, socket, subprocess, sys, threading, time
from urllib.parse import urlsplit
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error, expect, sync_playwright

options = argparse.ArgumentParser()
for name in ["chromium", "nats", "nats-port", "folder", "log", "service", "address", "token", "prefix", "program", "pymongo", "pictures"]:
    options.add_argument(f"--{name}", required=True)
options.add_argument("--seconds", type=int, default=5, help="of load before the pictures")
given = options.parse_args()
SIZES = {"": (1280, 800), "-360": (360, 740)}
SCHEMES = ["light", "dark"]
# Of what the pages of Chromium's own do, nothing is of interest.
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP localhost 127.0.0.1, MAP * ~NOTFOUND"]
LARGEST = 2000  # in bytes, of a message
MARKUP = "<img src=/icon.svg><script>document.title = 1</script>"
problems = []


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


def until(what, is_so, limit=20):
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        found = is_so()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {limit} s: {what}")


def create_ticket(title):
    connection = http.client.HTTPConnection(given.address, timeout=5)
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
    return nats.ask(f"{given.prefix}.order.created.{key}", {"version": 0, "ticket": {"id": ticket}})


def look_too(page):
    connection = http.client.HTTPConnection(urlsplit(page.url).netloc, timeout=5)
    connection.request("GET", "/live")
    assert connection.getresponse().status == 200, "there is no room for one more viewer"
    return connection


def look_for_faults(axe, page, what):
    for violation in axe.run(page).response["violations"]:
        nodes = [node["html"][:160] for node in violation["nodes"]]
        problems.append(f"{what}: {violation['id']}: {violation['help']}: {nodes}")


def in_every_look(page, what, then):
    for scheme in SCHEMES:
        for size, (width, height) in SIZES.items():
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": height})
            then(f"{what}-{scheme}{size}")
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if wide:
                problems.append(f"{what}-{scheme}{size} is {wide} px too wide")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 800})


def take_picture(page, name):
    page.screenshot(path=pathlib.Path(given.pictures, f"live-page-{name}.png"), full_page=name.endswith("360"), animations="disabled")


def try_page(page, nats, axe):
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("Everything is sent.")
    load = Load(nats, 0.05)
    turned = page.locator("#events .sent.YES")
    expect(turned).to_have_count(50)
    expect(page.locator("#messages tr").first).to_contain_text("order.created")
    until("an event was seen to turn from NO to YES", lambda: page.evaluate("window.turned.size > 0"))
    time.sleep(given.seconds)

    # NATS goes, and comes back.
    load.orders = False
    nats.stop()
    expect(heading).to_contain_text("NATS is away")
    expect(page.locator("#events .sent.NO").first).to_be_visible()
    time.sleep(given.seconds)
    expect(heading).to_contain_text("wait; writes go on.")
    in_every_look(page, "away", lambda name: take_picture(page, name))
    nats.start()
    load.orders = True
    expect(heading).to_have_text(re.compile("Everything is (sent|on its way)."))
    expect(page.locator("#events .sent.NO")).to_have_count(0)
    time.sleep(given.seconds)
    in_every_look(page, "sent", lambda name: (take_picture(page, name), look_for_faults(axe, page, name)))
    load.end()

    # One event is too large for the server, and one message is of nothing.
    plant_events("ticket", ["x" * LARGEST])
    order(nats, os.urandom(12).hex(), os.urandom(12).hex())
    parked = page.get_by_role("listitem").filter(has_text="ticket.created")
    dead = page.get_by_role("listitem").filter(has_text="there is no such ticket")
    expect(parked).to_be_visible()
    expect(dead).to_be_visible()
    expect(page.locator("#events .sent.parked")).to_have_count(1)
    parked.get_by_role("button", name="Payload").click()
    expect(parked.get_by_role("region")).to_contain_text('"title"')
    in_every_look(page, "parked", lambda name: (take_picture(page, name), look_for_faults(axe, page, name)))

    # Tried again while nothing has changed, it is parked again; then the server takes it.
    dialog = page.get_by_role("dialog")
    nats.allow(1024 * 1024)
    parked.get_by_role("button", name="Try again").press("Enter")
    expect(dialog.get_by_role("button", name="Try again")).to_be_focused()
    in_every_look(page, "dialog", lambda name: look_for_faults(axe, page, name))
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(parked).to_have_count(0)
    expect(page.get_by_role("status")).to_have_text("It is tried again.")
    expect(page.locator("#events tr").first.locator(".sent.YES")).to_be_visible()
    dead.get_by_role("button", name="Skip").click()
    dialog.get_by_label("Why").fill("an order of a ticket that nobody has")
    take_picture(page, "skip")
    dialog.get_by_role("button", name="Skip", exact=True).click()
    expect(page.locator("#aside")).to_be_hidden()
    expect(page.get_by_role("button", name="Pause")).to_be_focused()
    log = pathlib.Path(given.log).read_text()
    for told in ['decision="retry"', 'decision="skip"', "an order of a ticket that nobody has"]:
        assert told in log, f"the log does not tell of {told}"

    # Many are parked, and what they say is no markup; and whoever comes when the room is full is told so.
    plant_events("nothing", [MARKUP] * 60)
    expect(page.locator("#aside-note")).to_have_text("The first of 60. All of them: outbox list --parked, inbox list.")
    expect(page.locator("#asides > li")).to_have_count(50)
    page.locator("#asides > li").first.get_by_role("button", name="Payload").click()
    expect(page.locator("#asides > li").first.get_by_role("region")).to_contain_text(MARKUP)
    expect(page.locator("main img, main script")).to_have_count(0)
    in_every_look(page, "many", lambda name: look_for_faults(axe, page, name))
    others = [look_too(page) for _ in range(15)]
    refused = page.context.new_page()
    refused.goto(page.url)
    expect(refused.get_by_role("heading", level=1)).to_have_text("This instance answers: 16 are looking already.")
    look_for_faults(axe, refused, "refused")
    refused.close()
    for other in others:
        other.close()

    # The service ends while the page is open.
    began = time.monotonic()
    os.kill(int(given.service), signal.SIGTERM)
    status = pathlib.Path(f"/proc/{given.service}/status")
    until("it has ended", lambda: not status.exists() or "State:\tZ" in status.read_text())
    took = time.monotonic() - began
    assert took < 3, f"the stop took {took:.1f} s while the page was open"
    expect(heading).to_have_text("This instance does not answer.")


def page_of(log):
    """Its address, by a name that the page knows and the only one that this browser can resolve."""
    lines = until("the page is served", lambda: [line for line in open(log) if 'metrics="' in line])
    return lines[0].split('metrics="')[1].split("/metrics")[0].replace("127.0.0.1", "localhost")


def try_token(context, axe):
    """A second instance shows figures to everybody, and the rest to who knows its token."""
    log = pathlib.Path(given.folder, "second.log")
    token = os.urandom(24).hex()
    second = subprocess.Popen([given.program, "serve"], env=os.environ | {"ADMIN_TOKEN": token}, stderr=log.open("w"))
    atexit.register(second.terminate)
    page = context.new_page()
    page.goto(page_of(log))
    field = page.get_by_label("ADMIN_TOKEN")
    expect(page.locator("#unsent")).to_have_text("0")
    expect(page.locator("#outcomes")).to_be_hidden()
    in_every_look(page, "token", lambda name: (take_picture(page, name), look_for_faults(axe, page, name)))
    field.fill("not " + token)
    field.press("Enter")
    expect(page.get_by_text("That is not the token.")).to_be_visible()
    field.fill(token)
    field.press("Enter")
    expect(field).to_be_hidden()
    expect(page.locator("#events-note")).to_contain_text("This instance stands by and publishes nothing now.")
    page.close()
    second.terminate()
    assert second.wait(20) == 0, "the second instance did not end well"


def main():
    nats = Nats()
    nats.allow(LARGEST)
    nats.start()
    atexit.register(nats.stop)
    made = nats.ask("$JS.API.STREAM.CREATE.ORDERS", {"name": "ORDERS", "subjects": [f"{given.prefix}.order.>"]})
    assert "error" not in made, made
    url = page_of(given.log)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.chromium, args=FLAGS)
        context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
        context.set_default_timeout(20_000)
        page = context.new_page()
        expect.set_options(timeout=20_000)
        page.expose_function("noteViolation", lambda text: problems.append(f"the policy forbids: {text}"))
        page.add_init_script("""
            addEventListener("securitypolicyviolation", event => noteViolation(`${event.effectiveDirective} ${event.blockedURI}`));
            window.turned = new Set();
            addEventListener("DOMContentLoaded", () => new MutationObserver(changes => {
              for (const row of document.querySelectorAll("#events tr")) {
                const text = row.querySelector(".sent").textContent;
                if (text === "YES" && row.wasNo) window.turned.add(row.dataset.number);
                if (text === "NO") row.wasNo = true;
              }
            }).observe(document.querySelector("#events") ?? document, { subtree: true, childList: true, characterData: true }));""")
        asked = lambda request: urlsplit(request.url).netloc == urlsplit(url).netloc or problems.append(f"the page asked elsewhere: {request.url}")
        page.on("request", asked)
        page.on("pageerror", lambda error: problems.append(f"a script threw: {error}"))
        is_lost = lambda text: "ERR_CONNECTION_REFUSED" in text or "ERR_INCOMPLETE_CHUNKED_ENCODING" in text
        page.on("console", lambda it: it.type == "error" and not is_lost(it.text) and problems.append(f"the console has an error: {it.text}"))
        try:
            page.goto(url)
            try_token(context, Axe())
            try_page(page, nats, Axe())
        except (Error, AssertionError) as error:
            problems.append(str(error).partition("\nAria snapshot")[0])
            page.screenshot(path=pathlib.Path(given.pictures, "live-page-failed.png"), full_page=True)
        browser.close()
    for problem in problems:
        print("try-live-page:", problem, file=sys.stderr)
    if problems:
        sys.exit(1)
    print("try-live-page: NATS went and came back, an event was tried again, a message given up, and the service stopped, while it was looked at")


main()
