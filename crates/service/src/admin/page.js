"use strict";
// The live page: it draws what the events of /live say, which live.js reads. Every text is set as text, never as markup.

const at = (id) => document.getElementById(id);
const make = (name, text, kind) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
};
// What is the same stays the same element and the same text: nobody loses focus, selection or place, and nothing is read out again.
const say = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};
const holdExactly = (parent, wanted) => {
  const focused = document.activeElement;
  for (const it of [...parent.children]) if (!wanted.includes(it)) it.remove();
  wanted.forEach((it, number) => it === parent.children[number] || parent.insertBefore(it, parent.children[number] ?? null));
  // What was moved has lost it.
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
};
const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const whole = new Intl.NumberFormat();
const SECONDS = 300;
const OLD_SECONDS = 10; // twice the pause between two readings, where those are quick

const shown = { points: [], figures: null, outcomes: null, access: null, lists: false, paused: false, read: null };
let announced = { text: "", kind: "", at: 0 };

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 120) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

const count = (number, one, many) => `${whole.format(number)} ${number === 1 ? one : many}`;

// --- what is drawn ---

function draw(name) {
  if (name === "access" || name === "all") drawAccess();
  if (name === "figures" || name === "stopping" || name === "all") drawFigures();
  if (name === "history" || name === "figures" || name === "all") drawGraphs();
  if (name === "outcomes" || name === "all") drawOutcomes();
}

function headline() {
  const { figures, stopping, lost } = shown;
  if (stopping) return ["This instance is stopping.", "wait"];
  if (lost) return [lost, "bad"];
  if (!figures) return ["Looking…", ""];
  const { outbox, nats } = figures;
  if (!outbox) return ["MongoDB does not answer, or was not asked yet.", "bad"];
  const unsent = count(outbox.unsent, "event waits", "events wait");
  if (nats === false) return [outbox.unsent ? `NATS is away. ${unsent}; writes go on.` : "NATS is away; writes go on.", "bad"];
  const asides = figures.consumers.map((consumer) => consumer.aside).filter(Boolean);
  const dead = asides.reduce((sum, aside) => sum + aside.dead, 0);
  const decide = [outbox.parked && count(outbox.parked, "event is parked", "events are parked"), dead && count(dead, "message is dead", "messages are dead")].filter(Boolean);
  if (decide.length) return [`${decide.join(", and ")}.`, "bad"];
  if (!outbox.publisher) return ["Nobody publishes at the moment.", "wait"];
  // What has waited for a moment only is not waited for.
  if (outbox.oldestWaitingSeconds >= 2) return [`${unsent} to be published.`, "wait"];
  if (age() >= OLD_SECONDS) return ["All was well when MongoDB was read last.", "wait"];
  return [outbox.unsent ? "Everything is on its way." : "Everything is sent.", ""];
}

// Of the figures, in seconds, by the clock of the instance.
function age() {
  const { readMs, point } = shown.figures;
  return readMs ? (point.at_ms - readMs) / 1000 : 0;
}

function who() {
  const { figures, lost } = shown;
  if (lost) return figures?.readMs ? `The figures are those of ${clock.format(figures.readMs)}.` : "";
  const old = figures && age() >= OLD_SECONDS ? `The figures are ${duration(age())} old.` : "";
  return `${publishes(figures)} ${old}`.trim();
}

function publishes(figures) {
  const publisher = figures?.outbox?.publisher;
  if (!publisher) return "";
  const here = publisher.instance === figures.instance ? "This instance publishes" : `${publisher.instance} publishes`;
  if (!publisher.since) return `${here}.`;
  const since = new Date(publisher.since);
  return `${here}, since ${clock.format(since)} (for ${duration(Math.max(0, (Date.now() - since) / 1000))}).`;
}

function drawFigures() {
  const [text, kind] = headline();
  say(at("headline"), text);
  at("headline").className = kind;
  say(at("who"), who());
  announce(text, kind);
  const { figures, lost } = shown;
  connection("nats", figures && !lost ? figures.nats : null);
  connection("mongodb", figures && !lost ? figures.outbox !== null : null);
  if (!figures) return;
  at("service").textContent = figures.service;
  at("version").textContent = figures.version;
  at("instance").textContent = `This instance is ${figures.instance}.`;
  document.title = `${figures.service}: ${text}`;
  at("read").textContent = figures.readMs ? `Figures of ${clock.format(figures.readMs)}.` : "";
  const { outbox, consumers } = figures;
  const sum = (state) => (outbox ? consumers.reduce((sum, consumer) => sum + (consumer.aside?.[state] ?? 0), 0) : null);
  figure("unsent", outbox?.unsent, "wait");
  figure("parked", outbox?.parked, "bad");
  figure("dead", sum("dead"), "bad");
  figure("retrying", sum("retrying"), "wait");
  figure("waiting", sum("waiting"), "wait");
  at("oldest").textContent = outbox ? (outbox.oldestWaitingSeconds ? duration(outbox.oldestWaitingSeconds) : "–") : "?";
  const consumes = consumers.length > 0;
  at("inbox").hidden = !consumes;
  for (const of of document.querySelectorAll(".of-inbox")) of.hidden = !consumes;
  at("events-note").textContent = note(figures);
  const lags = consumers.filter((consumer) => consumer.lag);
  at("messages-note").textContent = lags.map(({ name, lag }) => `${name}: ${count(lag.messages, "message", "messages")} to go`).join(" · ");
  const some = outbox && outbox.parked + sum("dead") + sum("retrying") + sum("waiting") > 0;
  if (figures.readMs !== shown.read && (some || shown.lists)) list();
  shown.read = figures.readMs;
}

function note({ publishes, outbox, instance }) {
  const publisher = outbox?.publisher?.instance;
  if (publisher === instance) return "The last fifty that this instance has seen.";
  const others = publisher ? `${publisher} does: its page shows them.` : "";
  return `This instance ${publishes ? "stands by and publishes nothing now" : "does not publish"}. ${others}`;
}

function connection(id, is) {
  at(id).hidden = is === null;
  at(id).className = is ? "" : "away";
  const ago = is && id === "mongodb" && age() >= OLD_SECONDS ? ` ${duration(age())} ago` : "";
  say(at(id), `${id === "nats" ? "NATS" : "MongoDB"} ${is ? "connected" : "away"}${ago}`);
}

function figure(id, value, kind) {
  at(id).textContent = value === undefined || value === null ? "?" : whole.format(value) + (value >= 100000 ? "+" : "");
  at(id).className = value ? kind : "";
}

// Once in five seconds at most, the same only once, and that all is well only where it was not.
function announce(text, kind) {
  if (text === announced.text || (!kind && !announced.kind) || Date.now() - announced.at < 5000) return;
  announced = { text, kind, at: Date.now() };
  at("announced").textContent = text;
}

const roundUp = (value) => {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((step) => step * power >= value) * power;
};

function drawGraph(id, series, unit, least) {
  const svg = at(id);
  const now = shown.points.at(-1)?.at_ms ?? 0;
  // Where seconds were missed, the last three hundred points go further back than the graph does.
  const all = shown.points.filter((point) => now - point.at_ms <= 1000 * SECONDS);
  const most = roundUp(Math.max(least, ...series.flatMap(([of]) => all.map((point) => of(point) ?? 0))));
  const paths = [["grid", "M0 1H300M0 50.5H300"]];
  for (const [of, kind] of series) {
    const points = all.filter((point) => of(point) !== null).map((point) => [
      (SECONDS - (now - point.at_ms) / 1000).toFixed(1), (100 - (99 * of(point)) / most).toFixed(2)]);
    if (!points.length) continue;
    const line = `M${points.map((point) => point.join(" ")).join("L")}`;
    if (!kind) paths.push(["area", `${line}L${points.at(-1)[0]} 100L${points[0][0]} 100Z`]);
    paths.push([kind, line]);
  }
  svg.replaceChildren(...paths.map(([kind, d]) => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("class", kind);
    path.setAttribute("d", d);
    return path;
  }));
  svg.parentElement.querySelector(".most").textContent = unit(most);
}

function drawGraphs() {
  const last = shown.points.at(-1);
  if (!last) return;
  const consumes = (shown.figures?.consumers.length ?? 0) > 0;
  drawGraph("lag", [[(point) => point.lag_seconds, ""]], duration, 0.05);
  at("lag-now").textContent = duration(last.lag_seconds);
  at("lag").setAttribute("aria-label", `Lag over the last five minutes; now ${duration(last.lag_seconds)}`);
  const series = [[(point) => point.published, ""]];
  const keys = [make("span", `${whole.format(last.published)} published/s`, "key")];
  if (consumes) {
    series.push([(point) => point.applied, "other"]);
    keys.push(make("span", `${whole.format(last.applied)} applied/s`, "key other"));
  }
  drawGraph("rate", series, (rate) => `${whole.format(rate)}/s`, 5);
  at("rate-now").replaceChildren(...keys);
  at("rate").setAttribute("aria-label", `Rate over the last five minutes; now ${keys.map((key) => key.textContent).join(", ")}`);
}

function drawRows(id, all, row) {
  const body = at(id);
  const known = new Map([...body.rows].map((it) => [it.dataset.number, it]));
  holdExactly(body, all.map((one) => {
    const it = known.get(String(one.number)) ?? make("tr");
    it.dataset.number = one.number;
    const state = JSON.stringify(one);
    if (it.dataset.state !== state) row(it, one);
    it.dataset.state = state;
    return it;
  }));
}

function cells(row, first, { type, key, version }, ms, took) {
  const what = make("td");
  const id = make("span", key, "id");
  id.title = key;
  const name = make("span", `${type} `);
  name.append(make("small", `v${version}`));
  what.append(name, id);
  const begin = make("td");
  begin.append(first);
  row.replaceChildren(begin, what, make("td", clock.format(ms)), make("td", took === null ? "–" : duration(took / 1000), "number"));
}

function drawOutcomes() {
  const { events, messages } = shown.outcomes ?? { events: [], messages: [] };
  drawRows("events", events, (row, event) => {
    const badge = row.querySelector(".sent") ?? make("span");
    badge.textContent = event.isParked ? "parked" : event.sent;
    badge.className = `sent ${badge.textContent}`;
    cells(row, badge, event, event.createdMs, event.tookMs);
  });
  drawRows("messages", messages, (row, message) => cells(row, make("span", message.consumer), message, message.appliedMs, message.tookMs));
}

function drawAccess() {
  const { access } = shown;
  at("access").hidden = access === null;
  at("outcomes").hidden = access !== null;
  if (access === null) return;
  const closed = access === "closed";
  at("access-why").textContent = closed
    ? "Figures are for everybody who reaches this address. For keys, payloads and decisions, set ADMIN_TOKEN where this service is started."
    : "Figures are for everybody who reaches this address. Keys, payloads and decisions are for those who know its token.";
  for (const part of at("access").querySelectorAll("label, input, button")) part.hidden = closed;
  shown.outcomes = null;
  drawOutcomes();
  drawAsides([]);
}

at("pause").addEventListener("click", () => {
  shown.paused = !shown.paused;
  at("pause").setAttribute("aria-pressed", String(shown.paused));
  if (!shown.paused) draw("all");
});
at("access").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = at("token").value;
  if (!isToken(token)) {
    at("access-wrong").textContent = "That is not the token.";
    return;
  }
  sessionStorage.setItem(TOKEN, token);
  location.reload();
});
// When the other scripts are there too.
addEventListener("DOMContentLoaded", () => followForEver());
