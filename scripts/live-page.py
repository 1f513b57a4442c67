"""What scripts/try-live-page does in the browser, and to NATS and the service meanwhile."""

import atexit, http.client, os, pathlib, re, signal, subprocess, sys, time
from urllib.parse import urlsplit
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error, expect, sync_playwright
from live_page_world import LARGEST, Load, Nats, given, order, plant_events, tell, until

WIDE, NARROW = ("", (1280, 800)), ("-360", (360, 740))
LOOKS = [("light", WIDE), ("dark", NARROW)]
if not given.two_looks:
    LOOKS += [("light", NARROW), ("dark", WIDE)]
# Of what the pages of Chromium's own do, nothing is of interest.
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP localhost 127.0.0.1, MAP * ~NOTFOUND"]
MARKUP = "<img src=/icon.svg><script>document.title = 1</script>"
problems = []


def look_too(page):
    connection = http.client.HTTPConnection(urlsplit(page.url).netloc, timeout=given.limit)
    connection.request("GET", "/live")
    assert connection.getresponse().status == 200, "there is no room for one more viewer"
    return connection


def look_for_faults(axe, page, what):
    for violation in axe.run(page).response["violations"]:
        nodes = [node["html"][:160] for node in violation["nodes"]]
        problems.append(f"{what}: {violation['id']}: {violation['help']}: {nodes}")


def in_every_look(page, what, then):
    for scheme, (size, (width, height)) in LOOKS:
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


def try_outage(page, nats, axe):
    """NATS goes, and comes back."""
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("Everything is sent.")
    load = Load(nats, 0.05)
    turned = page.locator("#events .sent.YES")
    expect(turned).to_have_count(50)
    expect(page.locator("#messages tr").first).to_contain_text("order.created")
    until("an event was seen to turn from NO to YES", lambda: page.evaluate("window.turned.size > 0"))
    time.sleep(given.seconds)
    load.orders = False
    nats.stop()
    expect(heading).to_contain_text("NATS is away")
    expect(page.locator("#events .sent.NO").first).to_be_visible()
    time.sleep(given.seconds)
    expect(heading).to_contain_text("wait; writes go on.")
    in_every_look(page, "away", lambda name: (take_picture(page, name), look_for_faults(axe, page, name)))
    nats.start()
    load.orders = True
    expect(heading).to_have_text(re.compile("Everything is (sent|on its way)."))
    expect(page.locator("#events .sent.NO")).to_have_count(0)
    time.sleep(given.seconds)
    in_every_look(page, "sent", lambda name: (take_picture(page, name), look_for_faults(axe, page, name)))
    load.end()
    expect(heading).to_have_text("Everything is sent.")
    old = page.evaluate("shown.figures.readMs -= 15000, drawFigures(), ['headline', 'who', 'mongodb'].map(id => at(id).textContent)")
    for text, told in zip(old, ["All was well when MongoDB was read last.", "The figures are ", " s ago"]):
        assert told in text, f"old figures look new: {old}"


def stays_focused(page, button):
    """Through three more lists; and what stands in its entry stays as it is."""
    button.focus()
    entry = page.locator("#asides > li").nth(2).element_handle()
    for _ in range(3):
        # Where that takes long, figures are read every 30 s.
        page.wait_for_event("response", lambda answer: answer.url.endswith("/aside"), timeout=3000 * given.limit)
    expect(button).to_be_focused()
    assert page.evaluate("entry => entry.isConnected", entry), "each list makes the entries anew"


def try_events(page, nats, axe):
    """One event is too large for the server. Tried again while nothing has changed, it is parked again; then the server takes it."""
    parked = page.get_by_role("listitem").filter(has_text="ticket.created")
    dialog = page.get_by_role("dialog")
    again = parked.get_by_role("button", name="Try again")
    yes = dialog.get_by_role("button", name="Try again")
    payload = parked.get_by_role("button", name="Payload")
    expect(page.locator("#events .sent.parked")).to_have_count(1)
    payload.dblclick()
    payload.click()
    expect(parked.get_by_role("region")).to_contain_text('"title"')
    expect(parked.get_by_role("region")).to_have_count(1)
    in_every_look(page, "parked", lambda name: (take_picture(page, name), look_for_faults(axe, page, name)))
    stays_focused(page, page.locator("#asides > li").nth(2).get_by_role("button", name="Payload"))
    again.press("Enter")
    expect(yes).to_be_focused()
    in_every_look(page, "dialog", lambda name: look_for_faults(axe, page, name))
    page.route("**/retry", lambda route: route.abort("connectionrefused"))
    yes.click()
    expect(dialog.get_by_role("alert")).to_contain_text("It is not known whether it was done")
    page.unroute("**/retry")
    yes.click()
    expect(dialog).to_be_hidden()
    expect(parked).to_contain_text("2 attempts")
    nats.allow(1024 * 1024)
    again.press("Enter")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(parked).to_have_count(0)
    expect(page.get_by_role("status")).to_have_text("It is tried again.")
    expect(page.locator("#events tr").first.locator(".sent.YES")).to_be_visible()


def try_messages(page, axe):
    """One message is of nothing and one says nothing: they are given up. Whoever has the same dialog elsewhere is told that it has changed."""
    other = page.context.new_page()
    other.goto(page.url)
    dead, unplaced = [page.get_by_role("listitem").filter(has_text=why) for why in ["there is no such ticket", "tell a version"]]
    dialogs = [of.get_by_role("dialog") for of in [page, other]]
    dead.get_by_role("button", name="Payload").click()
    expect(dead.get_by_role("region")).to_contain_text('"ticket"')
    dead.get_by_role("button", name="Try again").click()
    dialogs[0].get_by_role("button", name="Try again").click()
    expect(dead).to_contain_text("2 attempts")
    for of, dialog in zip([page, other], dialogs):
        of.get_by_role("listitem").filter(has_text="there is no such ticket").get_by_role("button", name="Skip").click()
        dialog.get_by_label("Reason").fill("an order of a ticket that nobody has")
    in_every_look(page, "skip", lambda name: look_for_faults(axe, page, name))
    take_picture(page, "skip")
    for dialog in dialogs:
        dialog.get_by_role("button", name="Skip", exact=True).click()
    expect(dialogs[1].get_by_role("alert")).to_contain_text("Nothing was done: this has changed")
    other.close()
    expect(dead).to_have_count(0)
    unplaced.get_by_role("button", name="Payload").click()
    expect(unplaced.get_by_role("region")).to_contain_text("nobody")
    unplaced.get_by_role("button", name="Skip").click()
    dialogs[0].get_by_label("Reason").fill("it says nothing")
    dialogs[0].get_by_role("button", name="Skip", exact=True).click()
    expect(page.locator("#aside")).to_be_hidden()
    expect(page.get_by_role("button", name="Pause")).to_be_focused()
    log = pathlib.Path(given.log).read_text()
    for told in ['decision="retry"', 'decision="skip"', "an order of a ticket that nobody has", "it says nothing"]:
        assert told in log, f"the log does not tell of {told}"


def try_many(page, axe):
    """Many are parked, and what they say is no markup; and whoever comes when the room is full is told so."""
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
    expect(refused.get_by_role("heading", level=1)).to_have_text("This instance answers: all 16 places for viewers are taken.")
    look_for_faults(axe, refused, "refused")
    refused.close()
    for other in others:
        other.close()


def try_end(page, axe):
    """The service is frozen for a while, and then ends while the page is open."""
    heading = page.get_by_role("heading", level=1)
    os.kill(int(given.service), signal.SIGSTOP)
    try:
        expect(heading).to_have_text("This instance does not answer.")
        expect(page.locator("#who")).to_contain_text("The figures are those of")
        in_every_look(page, "frozen", lambda name: look_for_faults(axe, page, name))
    finally:
        os.kill(int(given.service), signal.SIGCONT)
    expect(heading).to_have_text("60 events are parked.")
    began = time.monotonic()
    os.kill(int(given.service), signal.SIGTERM)
    status = pathlib.Path(f"/proc/{given.service}/status")
    until("it has ended", lambda: not status.exists() or "State:\tZ" in status.read_text())
    took = time.monotonic() - began
    assert took < 3, f"the stop took {took:.1f} s while the page was open"
    expect(heading).to_have_text("This instance does not answer.")


def try_page(page, nats, axe):
    try_outage(page, nats, axe)
    plant_events("ticket", ["x" * LARGEST])
    order(nats, os.urandom(12).hex(), os.urandom(12).hex())
    tell(nats, os.urandom(12).hex(), {"of": "nobody"})
    expect(page.locator("#asides > li")).to_have_count(3)
    try_events(page, nats, axe)
    try_messages(page, axe)
    try_many(page, axe)
    try_end(page, axe)


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
    # No header holds this one, and the page is as it was, also where a tab has kept it.
    beyond = "\u0442\u043e\u043a\u0435\u043d"
    field.fill(beyond)
    field.press("Enter")
    expect(page.get_by_text("That is not the token.")).to_be_visible()
    page.evaluate("text => sessionStorage.setItem('ADMIN_TOKEN', text)", beyond)
    page.reload()
    expect(page.locator("#unsent")).to_have_text("0")
    field.fill("not " + token)
    field.press("Enter")
    expect(page.get_by_text("That is not the token.")).to_be_visible()
    field.fill(token)
    field.press("Enter")
    expect(field).to_be_hidden()
    expect(page.locator("#events-note")).to_contain_text("This instance stands by and publishes nothing now.")
    # What changes during a pause is drawn after it.
    pause = page.get_by_role("button", name="Pause")
    pause.click()
    page.evaluate("take('access', 'noToken')")
    expect(field).to_be_hidden()
    pause.click()
    expect(field).to_be_visible()
    page.close()
    second.terminate()
    assert second.wait(given.limit) == 0, "the second instance did not end well"


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
        context.set_default_timeout(1000 * given.limit)
        page = context.new_page()
        expect.set_options(timeout=1000 * given.limit)
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
    print("try-live-page: NATS went and came back, an event was tried again, messages were given up, and the service was frozen and stopped, while it was looked at")


main()
