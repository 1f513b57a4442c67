"use strict";
// The events of /live, as they come, for page.js. Figures come each second: silence says that the instance is frozen, or the way to it gone.

const TOKEN = "ADMIN_TOKEN";
const SILENCE_MS = 5000;

const headersWith = (token) => new Headers(token ? { Authorization: `Bearer ${token}` } : {});

// No header holds a character beyond Latin-1.
function isToken(text) {
  try {
    return Boolean(headersWith(text));
  } catch {
    return false;
  }
}

function authorized() {
  const token = sessionStorage.getItem(TOKEN);
  if (isToken(token)) return headersWith(token);
  sessionStorage.removeItem(TOKEN);
  return headersWith(null);
}

async function follow() {
  const silence = new AbortController();
  let alarm;
  const listen = () => {
    clearTimeout(alarm);
    alarm = setTimeout(() => silence.abort(), SILENCE_MS);
  };
  listen();
  try {
    await read(await fetch("/live", { headers: authorized(), cache: "no-store", signal: silence.signal }), listen);
  } finally {
    clearTimeout(alarm);
  }
}

async function read(answer, listen) {
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
    listen();
    const messages = (rest + value).split("\n\n");
    rest = messages.pop();
    for (const message of messages) {
      const [, name, json] = /^event: (.*)\ndata: (.*)$/.exec(message) ?? [];
      if (name) take(name, JSON.parse(json));
    }
  }
}

function take(name, value) {
  shown.lost = null;
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
