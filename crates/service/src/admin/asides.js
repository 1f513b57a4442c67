"use strict";
// What is put aside, and what is decided about it. It goes on from page.js.

async function ask(path, options = {}) {
  const answer = await fetch(path, { cache: "no-store", ...options, headers: { ...authorized(), ...options.headers } });
  const text = await answer.text();
  if (!answer.ok) throw new Error(text);
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

const ofEvent = (event) => ({
  id: event.id, kind: "parked", title: `${event.type ?? "an event"} · ${event.key ?? "?"} · version ${event.version ?? "?"}`,
  why: event.parked?.reason, note: `Parked${when(event.parked?.at)}, ${count(event.parked?.attempts ?? 1, "attempt", "attempts")}`,
  which: { event: event.event }, can: event.event ? ["retry", "skip"] : [],
});

function ofLetter(letter) {
  const { consumer, key, version, sequence, state } = letter;
  const which = key === null ? { consumer, sequence } : { consumer, key, version, waits: state === "waiting" };
  const can = state === "waiting" ? ["skip"] : key === null ? ["skip"] : ["retry", "skip"];
  return {
    id: JSON.stringify(which), kind: state, which, can, why: letter.reason,
    title: `${letter.type ?? "a message"} · ${key ?? `sequence ${sequence}`}${version === null ? "" : ` · version ${version}`}`,
    note: `${state[0].toUpperCase()}${state.slice(1)} in ${consumer}${when(letter.at)}${letter.attempts ? `, ${count(letter.attempts, "attempt", "attempts")}` : ""}`,
  };
}

const when = (time) => (time ? ` since ${new Date(time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}` : "");

const MOST = 50; // of a kind, as the service lists them

function rest(listed) {
  const { outbox, consumers } = shown.figures;
  const asides = consumers.map((consumer) => consumer.aside).filter(Boolean);
  const all = asides.reduce((sum, { dead, retrying, waiting }) => sum + dead + retrying + waiting, outbox?.parked ?? 0);
  if (listed < MOST || all <= listed) return [];
  return [`The first of ${whole.format(all)}. All of them: `, make("code", "outbox list --parked"), ", ", make("code", "inbox list"), "."];
}

function drawAsides(all) {
  const had = at("asides").contains(document.activeElement);
  const known = new Map([...at("asides").children].map((it) => [it.dataset.id, it]));
  at("asides").replaceChildren(...all.map((one) => {
    const same = known.get(one.id);
    return same?.dataset.state === JSON.stringify(one) ? same : drawAside(one);
  }));
  shown.lists = all.length > 0;
  at("aside-note").replaceChildren(...rest(all.length));
  at("aside").hidden = all.length === 0;
  if (had && !at("asides").contains(document.activeElement)) (all.length ? at("aside-title") : at("pause")).focus();
}

function drawAside(one) {
  const item = make("li", undefined, one.kind);
  item.dataset.id = one.id;
  item.dataset.state = JSON.stringify(one);
  const buttons = make("p", undefined, "buttons");
  const button = (text, does) => {
    const it = make("button", text);
    it.type = "button";
    it.setAttribute("aria-label", `${text}: ${one.title}`);
    it.addEventListener("click", () => does(it));
    buttons.append(it);
    return it;
  };
  button("Payload", (it) => togglePayload(item, one, it)).setAttribute("aria-expanded", "false");
  if (one.can.includes("retry")) button("Try again…", () => decide("retry", one));
  if (one.can.includes("skip")) button("Skip…", () => decide("skip", one));
  item.append(make("h3", one.title), make("p", one.why ?? "?", "why"), make("p", one.note, "note"), buttons);
  return item;
}

async function togglePayload(item, one, button) {
  const there = item.querySelector("pre");
  button.setAttribute("aria-expanded", String(!there));
  if (there) return there.remove();
  let text;
  try {
    text = (await ask(`/payload?${new URLSearchParams(Object.entries(one.which))}`)) || "It is empty, or so large that only the stream has it.";
  } catch (error) {
    text = error.message;
  }
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
  const reason = at("reason").value.trim();
  at("decision-yes").disabled = true;
  try {
    const body = JSON.stringify({ ...which, reason });
    const done = await ask(`/${decision}`, { method: "POST", body, headers: { "Content-Type": "application/json" } });
    at("decision").close();
    at("announced").textContent = done;
    await list();
  } catch (error) {
    at("decision-wrong").textContent = `Nothing was done: ${error.message}`;
  }
  at("decision-yes").disabled = false;
}

at("decision").querySelector("form").addEventListener("submit", carryOut);
at("decision-no").addEventListener("click", () => at("decision").close());
