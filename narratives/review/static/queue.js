// The left side: filters, how many of each narrative, the list.
import { $, el, icon, plain } from "./dom.js";
import { FILTER_DEFAULTS, get, keyOf, labelName, labelNumber, number, state, t, time } from "./state.js";

const query = () => new URLSearchParams(Object.entries(state.filter).filter(([name, value]) => value !== FILTER_DEFAULTS[name])).toString();
let asked = 0;

export function readAddress() {
  const given = new URLSearchParams(location.search);
  state.filter = Object.fromEntries(Object.entries(FILTER_DEFAULTS).map(([name, value]) => [name, given.get(name) ?? value]));
  const row = Number(location.hash.slice(1));
  return location.hash && Number.isInteger(row) ? row : null;
}
export function writeAddress() {
  const q = query();
  history.replaceState(null, "", `${q ? `?${q}` : location.pathname}${state.card ? `#${state.card.row}` : ""}`);
}

export async function loadQueue() {
  const mine = ++asked;
  $("list").setAttribute("aria-busy", "true");
  const found = await get(`/api/queue?${query()}`);
  if (mine !== asked) return false; // a later filter is on its way
  Object.assign(state, { queue: found.queue, lines: found.lines, total: found.total, nPosts: found.n_posts, counts: found.counts, at: -1 });
  Object.assign(state.session, { clusters_ready: found.clusters_ready, n_undoable: found.n_undoable, texts_ready: found.texts_ready });
  $("list").removeAttribute("aria-busy");
  $("list").scrollTop = 0;
  drawSide();
  return true;
}

export async function loadMore() {
  if (state.lines.length >= state.total || state.loadingMore) return;
  state.loadingMore = true;
  try {
    const queue = state.queue;
    const found = await get(`/api/queue/${queue}?offset=${state.lines.length}`);
    if (queue === state.queue && found.offset === state.lines.length) {
      state.lines.push(...found.lines);
      drawList();
    }
  } finally { state.loadingMore = false; }
}

/** Fill in the texts of lines that came before the server had them. */
export async function fillSnippets() {
  const missing = (one) => one.snippet === null;
  for (let at = state.lines.findIndex(missing); at >= 0; at = state.lines.findIndex(missing)) {
    const queue = state.queue;
    const found = await get(`/api/queue/${queue}?offset=${at}`);
    if (queue !== state.queue) continue;
    const texts = new Map(found.lines.map((one) => [one.row, one.snippet]));
    for (const one of state.lines) if (missing(one) && texts.has(one.row)) one.snippet = texts.get(one.row);
    if (missing(state.lines[at])) break;
  }
  drawList();
}

const option = (value, text, chosen) => el("option", { value, selected: value === chosen }, text);
const field = (name, control) => el("label", { class: "field" }, el("span", {}, t(name)), control);

export function drawFilters(change) {
  const f = state.filter;
  const s = state.session;
  const choose = (name, pairs) => el("select", { name, onchange: change }, pairs.map(([value, text]) => option(value, text, f[name])));
  const more = ["stance", "language", "channel", "since", "until", "low", "high", "copies"].filter((name) => f[name] !== FILTER_DEFAULTS[name]).length;
  $("filters").replaceChildren(
    el("label", { class: "search" }, el("span", { class: "sr" }, t("search")), el("input", { type: "search", name: "search", id: "search", value: f.search, placeholder: t("search"), maxlength: 200, onchange: change })),
    el("div", { class: "pair" },
      field("status", choose("status", s.statuses.map((v) => [v, t(`status_${v}`)]))),
      field("sort", choose("sort", s.sorts.map((v) => [v, t(`sort_${v}`)])))),
    el("details", { class: "more", open: more > 0 || state.moreOpen, ontoggle: (e) => { state.moreOpen = e.target.open; } },
      el("summary", {}, more ? t("filters_on", { n: more }) : t("filters")),
      el("div", { class: "grid" },
        field("label", choose("label", [["flagged", t("label_flagged")], ["", t("label_any")], ["none", t("label_none")], ...s.labels.map((l) => [l.id, labelName(l.id)])])),
        field("stance", choose("stance", [["", t("any")], ...s.stances.map((v) => [v, t(v)])])),
        field("post_language", choose("language", [["", t("any")], ...s.languages.map(([v, n]) => [v, `${v} (${number(n)})`])])),
        field("channel", el("input", { name: "channel", list: "channels", value: f.channel, onchange: change, maxlength: 200 })),
        el("datalist", { id: "channels" }, s.channels.map(([v]) => el("option", { value: v }))),
        field("since", el("input", { type: "date", name: "since", value: f.since, onchange: change })),
        field("until", el("input", { type: "date", name: "until", value: f.until, onchange: change })),
        el("fieldset", { class: "range" }, el("legend", {}, t("probability")),
          ["low", "high"].map((name) => el("input", { type: "number", name, min: 0, max: 1, step: 0.01, value: f[name], placeholder: name === "low" ? "0" : "1", "aria-label": `${t("probability")}: ${t(name)}`, onchange: change }))),
        el("label", { class: "tick" }, el("input", { type: "checkbox", name: "copies", checked: f.copies === "1", onchange: change }), el("span", {}, t("copies_apart"))),
        el("button", { type: "button", class: "quiet", id: "reset", onclick: () => { state.filter = { ...FILTER_DEFAULTS }; drawFilters(change); change(); } }, t("reset")))));
}

export function readFilters() {
  const form = new FormData($("filters"));
  for (const name of Object.keys(FILTER_DEFAULTS)) state.filter[name] = name === "copies" ? (form.get("copies") ? "1" : "") : String(form.get(name) ?? "");
}

export function drawSide() {
  const counts = state.counts ?? {};
  const [flagged, done] = counts.flagged ?? [0, 0];
  $("progress-text").textContent = t("progress", { done: number(done), all: number(flagged) });
  Object.assign($("progress-bar"), { max: Math.max(1, flagged), value: done });
  const line = (id, name, n, mine, klass) => el("li", {}, el("button", {
    type: "button", class: `count ${klass}`, "aria-pressed": String(state.filter.label === id), title: name,
    onclick: () => document.dispatchEvent(new CustomEvent("pick-label", { detail: id })),
  }, el("span", { class: "dot", "aria-hidden": "true" }, klass.startsWith("l") ? keyOf(labelNumber(id)) : ""), el("span", { class: "name" }, name),
  el("span", { class: "n" }, mine ? `${number(mine)} / ${number(n)}` : number(n)), el("span", { class: "fill", "aria-hidden": "true" })));
  const rows = [line("flagged", t("label_flagged"), flagged, done, "all"), ...state.session.labels.map((l, n) => line(l.id, labelName(l.id), ...(counts[l.id] ?? [0, 0]), `l${n % 10}`))];
  rows.forEach((row, i) => {
    const [n, mine] = i === 0 ? [flagged, done] : counts[state.session.labels[i - 1].id] ?? [0, 0];
    row.querySelector(".fill").style.setProperty("--part", n ? mine / n : 0);
    if (!n) row.firstChild.classList.add("none");
  });
  $("label-counts").replaceChildren(...rows);
  $("listed").textContent = state.total ? t("n_listed", { n: number(state.total), posts: number(state.nPosts) }) : t("empty");
  drawList();
}

export function drawList() {
  const list = $("list");
  // Long lists draw what was loaded, fifty a page.
  list.replaceChildren(...state.lines.map((one, n) => drawLine(one, n)));
}

function drawLine(one, n) {
  const current = state.card?.row === one.row;
  return el("li", {}, el("button", { type: "button", class: `line ${one.verdict ? `is-${one.verdict}` : ""}`, "aria-current": current ? "true" : null, onclick: () => document.dispatchEvent(new CustomEvent("pick-line", { detail: n })) },
    el("span", { class: "line-top" },
      one.labels.map((id) => el("span", { class: `dot l${labelNumber(id) % 10}`, title: labelName(id) }, keyOf(labelNumber(id)) || "·")),
      el("span", { class: "line-channel" }, plain(one.channel ?? t("unknown_channel"))),
      one.size > 1 && el("span", { class: "line-copies" }, icon("copies"), number(one.size)),
      one.verdict && el("span", { class: `verdict v-${one.verdict}` }, t(`verdict_${one.verdict}`))),
    el("span", { class: "line-text", dir: "auto" }, one.snippet === null ? "…" : plain(one.snippet) || t("no_text")),
    el("span", { class: "line-foot" }, el("span", {}, time(one.published, true)), one.views !== null && el("span", {}, icon("eye"), number(one.views)), one.noted && icon("note"))));
}

export function markLine() {
  [...$("list").children].forEach((item, n) => {
    if (n === state.at) {
      item.firstChild.setAttribute("aria-current", "true");
      item.scrollIntoView({ block: "nearest" });
    } else item.firstChild.removeAttribute("aria-current");
  });
}

export function refreshLine(row, card) {
  const n = state.lines.findIndex((one) => one.row === row);
  if (n < 0) return;
  Object.assign(state.lines[n], { verdict: card.decision?.verdict ?? null, noted: Boolean(card.decision?.note) });
  $("list").children[n]?.replaceWith(drawLine(state.lines[n], n));
}
