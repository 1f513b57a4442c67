"use strict";
// What is put aside, and what is decided about it. It goes on from page.js.

const ANSWER_MS = 15000; // longer than the service waits for its servers

async function ask(path, options = {}) {
  const headers = authorized();
  if (options.body) headers.set("Content-Type", "application/json");
  const answer = await fetch(path, { cache: "no-store", ...options, headers, signal: AbortSignal.timeout(ANSWER_MS) });
  const text = await answer.text();
  if (!answer.ok) throw Object.assign(new Error(text), { status: answer.status });
  return text;
}

async function list() {
  if (shown.access !== null) return;
  try {
    const { parked, letters } = JSON.parse(await ask("/aside"));
    drawAsides([...parked.map(ofEvent), ...letters.map(ofLetter)]);
  } catch (error) {
    console.warn(error.message);
  }
}

// The same of kind and name is the same entry. What nobody can name has no buttons.
const entry = (one) => ({ ...one, id: JSON.stringify([one.kind, one.which ?? one.title]) });

const ofEvent = ({ event, id, type, key, version, parked }) => entry({
  kind: "parked", title: `${type ?? "an event"} · ${key ?? "?"} · version ${version ?? "?"}`, why: parked?.reason,
  note: `Parked${when(parked?.at)}, ${count(parked?.attempts ?? 1, "attempt", "attempts")}${event ? "" : `. Its _id, ${id}, is no ObjectId: correct or delete it by hand`}`,
  which: event && { event }, can: ["retry", "skip"],
});

function ofLetter({ consumer, key, version, sequence, state, type, reason, attempts, at }) {
  const placed = key !== null;
  return entry({
    kind: state, why: reason, can: placed && state !== "waiting" ? ["retry", "skip"] : ["skip"],
    which: placed ? { consumer, key, version, waits: state === "waiting" } : { consumer, sequence },
    title: `${type || "a message"} · ${key ?? `sequence ${sequence}`}${version === null ? "" : ` · version ${version}`}`,
    note: `${state[0].toUpperCase()}${state.slice(1)} in ${consumer}${when(at)}${attempts ? `, ${count(attempts, "attempt", "attempts")}` : ""}`,
  });
}

const when = (time) => (time ? ` since ${new Date(time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}` : "");

const MOST = 50; // of a kind, as the service lists them

function rest(listed) {
  if (listed < MOST) return [];
  const { outbox, consumers } = shown.figures;
  const asides = consumers.map((consumer) => consumer.aside).filter(Boolean);
  const all = asides.reduce((sum, { dead, retrying, waiting }) => sum + dead + retrying + waiting, outbox?.parked ?? 0);
  if (all <= listed) return [];
  return [`The first of ${whole.format(all)}. All of them: `, make("code", "outbox list --parked"), ", ", make("code", "inbox list"), "."];
}

function drawAsides(all) {
  const had = at("asides").contains(document.activeElement);
  const known = new Map([...at("asides").children].map((it) => [it.dataset.id, it]));
  holdExactly(at("asides"), all.map((one) => {
    const item = known.get(one.id) ?? makeAside(one);
    say(item.querySelector(".why"), one.why ?? "?");
    say(item.querySelector(".note"), one.note);
    return item;
  }));
  shown.lists = all.length > 0;
  at("aside-note").replaceChildren(...rest(all.length));
  at("aside").hidden = all.length === 0;
  if (had && !at("asides").contains(document.activeElement)) (all.length ? at("aside-title") : at("pause")).focus();
}

function makeAside(one) {
  const item = make("li", undefined, one.kind);
  item.dataset.id = one.id;
  const buttons = make("p", undefined, "buttons");
  const button = (text, does) => {
    const it = make("button", text);
    it.type = "button";
    it.setAttribute("aria-label", `${text}: ${one.title}`);
    it.addEventListener("click", () => does(it));
    buttons.append(it);
    return it;
  };
  if (one.which) {
    button("Payload", (it) => togglePayload(item, one, it)).setAttribute("aria-expanded", "false");
    if (one.can.includes("retry")) button("Try again…", () => decide("retry", one));
    if (one.can.includes("skip")) button("Skip…", () => decide("skip", one));
  }
  item.append(make("h3", one.title), make("p", undefined, "why"), make("p", undefined, "note"), buttons);
  return item;
}

async function togglePayload(item, one, button) {
  const wanted = () => button.getAttribute("aria-expanded") === "true";
  const drop = () => item.querySelector("pre")?.remove();
  button.setAttribute("aria-expanded", String(!wanted()));
  if (!wanted()) return drop();
  let text;
  try {
    text = (await ask(`/payload?${new URLSearchParams(Object.entries(one.which))}`)) || "It is empty, or so large that only the stream has it.";
  } catch (error) {
    text = error.message;
  }
  // Whoever clicked again meanwhile wants none, or has one.
  if (!wanted()) return;
  drop();
  const payload = make("pre", text);
  payload.tabIndex = 0;
  payload.setAttribute("role", "region");
  payload.setAttribute("aria-label", `Payload of ${one.title}`);
  item.append(payload);
}

let decided = null;

function decide(decision, one) {
  const retry = decision === "retry";
  const gap = one.kind === "waiting" ? "What is missing before it is given up, and it goes on." : "It is given up for good: later ones of its key go on without it.";
  at("decision-title").textContent = retry ? "Try it again?" : "Skip it?";
  at("decision-what").textContent = `${one.title}. ${retry ? "If it fails once more, it stays here." : gap}`;
  at("decision-why").hidden = retry;
  at("reason").required = !retry;
  at("reason").value = "";
  at("decision-yes").textContent = retry ? "Try again" : "Skip";
  at("decision-wrong").textContent = "";
  decided = { decision, which: one.which };
  at("decision").showModal();
  (retry ? at("decision-yes") : at("reason")).focus();
}

async function carryOut(event) {
  event.preventDefault();
  const { decision, which } = decided;
  at("decision-yes").disabled = true;
  try {
    const done = await ask(`/${decision}`, { method: "POST", body: JSON.stringify({ ...which, reason: at("reason").value.trim() }) });
    at("decision").close();
    at("announced").textContent = done;
    await list();
  } catch (error) {
    // Only a refusal says so: what was asked may go on although its answer is lost.
    const refused = error.status >= 400 && error.status < 500;
    at("decision-wrong").textContent = `${refused ? "Nothing was done" : "It is not known whether it was done"}: ${error.message}`;
  }
  at("decision-yes").disabled = false;
}

at("decision").querySelector("form").addEventListener("submit", carryOut);
at("decision-no").addEventListener("click", () => at("decision").close());
