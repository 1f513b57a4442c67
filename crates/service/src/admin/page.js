"use strict";
// The live page: it reads the events of /live, and draws what they say. Every text is set as text, never as markup.

const at = (id) => document.getElementById(id);
const make = (name, text, kind) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
};
const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const whole = new Intl.NumberFormat();
const SECONDS = 300;
const TOKEN = "ADMIN_TOKEN";

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

// --- the stream of events ---

function authorized() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function follow() {
  const answer = await fetch("/live", { headers: authorized(), cache: "no-store" });
  if (answer.status === 401) {
    sessionStorage.removeItem(TOKEN);
    at("access-wrong").textContent = "That is not the token.";
  }
  if (!answer.ok) throw { says: await answer.text(), pause: answer.headers.get("Retry-After") };
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const messages = (rest + value).split("\n\n");
    rest = messages.pop();
    for (const message of messages) {
      const [, name, json] = /^event: (.*)\ndata: (.*)$/.exec(message) ?? [];
      if (name) take(name, JSON.parse(json));
    }
  }
}

function take(name, value) {
  if (name === "history") shown.points = value;
  if (name === "access") shown.access = value;
  if (name === "outcomes") shown.outcomes = value;
  if (name === "stopping") shown.stopping = true;
  if (name === "figures") {
    shown.figures = value;
    shown.stopping = false;
    if (shown.points.at(-1)?.at_ms !== value.point.at_ms) shown.points = [...shown.points, value.point].slice(-SECONDS);
  }
  if (!shown.paused) draw(name);
}

async function followForEver() {
  for (;;) {
    shown.lost = null;
    let refused = {};
    try {
      await follow();
    } catch (error) {
      refused = error;
      shown.stopping = false; // it has ended
    }
    shown.lost = refused.says ? `This instance answers: ${refused.says}.` : "This instance does not answer.";
    if (!shown.paused) drawFigures();
    await new Promise((resolve) => setTimeout(resolve, 1000 * (refused.pause ?? 2)));
  }
}

// --- what is drawn ---

function draw(name) {
  if (name === "access") drawAccess();
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
  return [outbox.unsent ? "Everything is on its way." : "Everything is sent.", ""];
}

function who() {
  const { figures } = shown;
  const publisher = figures?.outbox?.publisher;
  if (!publisher) return "";
  const here = publisher.instance === figures.instance ? "This instance publishes" : `${publisher.instance} publishes`;
  if (!publisher.since) return `${here}.`;
  const since = new Date(publisher.since);
  return `${here}, since ${clock.format(since)} (for ${duration(Math.max(0, (Date.now() - since) / 1000))}).`;
}

function drawFigures() {
  const [text, kind] = headline();
  at("headline").textContent = text;
  at("headline").className = kind;
  at("who").textContent = who();
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
  at(id).textContent = `${id === "nats" ? "NATS" : "MongoDB"} ${is ? "connected" : "away"}`;
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
  const most = roundUp(Math.max(least, ...series.flatMap(([of]) => shown.points.map((point) => of(point) ?? 0))));
  const paths = [["grid", "M0 1H300M0 50.5H300"]];
  for (const [of, kind] of series) {
    const points = shown.points.filter((point) => of(point) !== null).map((point) => [
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

// Rows stay the same elements while what they tell of does, so that nobody loses their place.
function drawRows(id, all, row) {
  const body = at(id);
  const known = new Map([...body.rows].map((it) => [it.dataset.number, it]));
  const rows = all.map((one) => {
    const it = known.get(String(one.number)) ?? make("tr");
    it.dataset.number = one.number;
    const state = JSON.stringify(one);
    if (it.dataset.state !== state) row(it, one);
    it.dataset.state = state;
    return it;
  });
  const same = rows.length === body.rows.length && rows.every((it, number) => it === body.rows[number]);
  if (!same) body.replaceChildren(...rows);
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
}

at("pause").addEventListener("click", () => {
  shown.paused = !shown.paused;
  at("pause").setAttribute("aria-pressed", String(shown.paused));
  if (!shown.paused) draw("all");
});
at("access").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, at("token").value);
  location.reload();
});
// When asides.js is there too.
addEventListener("DOMContentLoaded", followForEver);
