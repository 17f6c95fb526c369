// What the page knows, its words, and how it asks the server. One request that changes data runs at a time, in the order of the keys.

export const state = { session: null, filter: {}, queue: null, lines: [], total: 0, at: -1, card: null, draft: null, definitions: false, words: {}, language: "en" };

export const FILTER_DEFAULTS = { label: "flagged", stance: "", language: "", channel: "", since: "", until: "", low: "", high: "", status: "open", search: "", copies: "", sort: "uncertain" };

export function t(key, values = {}) {
  const text = state.words[state.language]?.[key] ?? state.words.en?.[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
}

const locale = () => (state.language === "en" ? "en" : "ru");
export const number = (n) => (n === null || n === undefined ? "–" : new Intl.NumberFormat(locale()).format(n));
export const decimal = (x, digits = 2) => (x === null || x === undefined ? "–" : new Intl.NumberFormat(locale(), { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(x));
// Browsers rarely know Kazakh; day, month and year in figures read the same in Kazakh and Russian.
export function time(microseconds, short = false) {
  if (microseconds === null || microseconds === undefined) return t("unknown_time");
  const day = state.language === "en" && !short ? { day: "numeric", month: "short", year: "numeric" } : { day: "2-digit", month: "2-digit", year: "numeric" };
  const clock = short ? {} : { hour: "2-digit", minute: "2-digit" };
  return new Intl.DateTimeFormat(state.language === "en" ? "en-GB" : "ru", { ...day, ...clock, timeZone: "UTC" }).format(new Date(microseconds / 1000)) + (short ? "" : " UTC");
}
export const label = (id) => state.session.labels.find((one) => one.id === id);
export const labelName = (id) => { const one = label(id); return one ? one.names[state.language] || one.names.en || id : id; };
export const labelNumber = (id) => state.session.labels.findIndex((one) => one.id === id);
export const keyOf = (n) => (n < 9 ? String(n + 1) : n === 9 ? "0" : "");

export class Refused extends Error {
  constructor(status, body) { super(body.error || String(status)); this.status = status; this.body = body; }
}

async function ask(path, options = {}) {
  let response;
  try { response = await fetch(path, { credentials: "same-origin", ...options }); } catch { throw new Refused(0, { error: t("said_offline") }); }
  const body = await response.json().catch(() => ({ error: response.statusText }));
  if (response.status === 401) body.error = t("said_closed");
  if (!response.ok) throw new Refused(response.status, body);
  return body;
}
export const get = (path) => ask(path);
export const post = (path, body) => ask(path, { method: "POST", headers: { "content-type": "application/json", "x-csrf-token": state.session.csrf }, body: JSON.stringify({ as: state.session.reviewer, ...body }) });

let last = Promise.resolve();
let pending = 0;
export function inOrder(work) {
  document.body.dataset.pending = ++pending;
  const mine = last.then(work).finally(() => { document.body.dataset.pending = --pending; });
  last = mine.catch(() => {});
  return mine;
}

export const channel = "BroadcastChannel" in window ? new BroadcastChannel("narratives-review") : null;
export const tellTabs = (row) => channel?.postMessage({ row });
