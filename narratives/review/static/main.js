// Brings the page to life: what each key and button does, and what is written when.
import { draftOf, drawCard, likelyStance } from "./card.js";
import { askName, askNote, isOpen, open, showBulk, showFigures, showHelp } from "./dialogs.js";
import { $, el } from "./dom.js";
import { keys, listen } from "./keys.js";
import { drawFilters, drawSide, fillSnippets, loadMore, loadQueue, markLine, readAddress, readFilters, refreshLine, writeAddress } from "./queue.js";
import { channel, FILTER_DEFAULTS, get, inOrder, number, post, Refused, state, t, tellTabs } from "./state.js";

let silence;
function say(text, kind = "") {
  $("toast").className = `toast shown ${kind}`;
  $("toast").textContent = text;
  clearTimeout(silence);
  silence = setTimeout(() => $("toast").classList.remove("shown"), kind === "bad" ? 8000 : 2600);
}
const fail = (error) => {
  if (error instanceof Refused && error.status === 409 && error.body.reviewer) {
    state.session.reviewer = error.body.reviewer;
    ahead.clear();
    drawFrame();
    refresh(state.card?.row ?? null).catch(fail);
    say(t("said_reviewer", { name: error.body.reviewer }), "bad");
    return;
  }
  if (!(error instanceof Refused)) console.error(error);
  say(t("said_error", { why: error.message }), "bad");
};

// ---- which post is shown -----------------------------------------------------------------------------------------------

const ahead = new Map(); // row -> promise of its card
const fetchCard = (row) => get(`/api/post/${row}`);

async function show(row, at, focus = true) {
  const card = await (ahead.get(row) ?? fetchCard(row)).catch((error) => { fail(error); return null; });
  ahead.clear();
  if (!card) return;
  setCard(card, at);
  if (focus) { $("card").focus({ preventScroll: true }); scrollTo({ top: 0 }); $("card").scrollTop = 0; }
  const next = state.lines[state.at + 1];
  if (next) { const coming = fetchCard(next.row); coming.catch(() => {}); ahead.set(next.row, coming); }
  if (state.at > state.lines.length - 12) loadMore().catch(fail);
}
function setCard(card, at = state.at) {
  if (card?.row !== state.emptied) state.emptied = null;
  state.card = card;
  state.at = card ? at : -1;
  state.draft = card ? draftOf(card) : null;
  drawCard(send);
  markLine();
  writeAddress();
}
async function go(step, open = false) {
  let at = state.at + step;
  while (open && at >= 0 && at < state.total) {
    if (at >= state.lines.length) await loadMore();
    if (at >= state.lines.length || !["accept", "reject", "correct", "skip"].includes(state.lines[at].verdict)) break;
    at += step;
  }
  if (at >= state.lines.length && at < state.total) await loadMore();
  if (at < 0) return;
  if (at >= state.lines.length) { if (open) { state.card = null; drawCard(send); markLine(); writeAddress(); $("card").focus({ preventScroll: true }); } return; }
  await show(state.lines[at].row, at);
}
async function refresh(row = null) {
  if (!(await loadQueue())) return;
  const at = row === null ? (state.lines.length ? 0 : -1) : state.lines.findIndex((one) => one.row === row);
  if (row !== null) await show(row, at, false);
  else if (at >= 0) await show(state.lines[0].row, 0, false);
  else setCard(null);
}

// ---- deciding -------------------------------------------------------------------------------------------------------------

async function decide(verdict, change = {}) {
  const card = state.card;
  const draft = { ...state.draft, ...change };
  try {
    const said = await post("/api/decide", { row: card.row, seen: card.decision?.event ?? 0, verdict, labels: draft.labels, stance: draft.stance, note: draft.note, settles: Boolean(change.settles) });
    took(said.card, said);
    say(t(`said_${verdict === "note" ? "note" : said.card.decision.verdict}`), said.card.decision.verdict);
    tellTabs(card.row);
    return true;
  } catch (error) {
    if (error instanceof Refused && error.status === 409 && error.body.error === "stale") {
      took(await fetchCard(card.row), {});
      say(t("said_stale"), "bad");
    } else fail(error);
    return false;
  }
}
const COUNTED = ["accept", "reject", "correct"];
function took(card, said) {
  const before = COUNTED.includes(state.card?.decision?.verdict);
  const after = COUNTED.includes(card.decision?.verdict);
  for (const name of ["n_undoable", "clusters_ready", "texts_ready"]) if (name in said) state.session[name] = said[name];
  if (before !== after) {
    const step = (after ? 1 : -1) * (card.cluster?.size ?? 1);
    for (const name of [...card.labels, card.labels.length ? "flagged" : "none"]) if (state.counts?.[name]) state.counts[name][1] = Math.max(0, state.counts[name][1] + step);
  }
  refreshLine(card.row, card);
  if (state.card?.row === card.row) setCard(card);
  if (before !== after) drawSide();
  markLine();
}

const actions = {
  async accept() {
    const card = state.card;
    // After a rejection the draft is empty, and to accept means what the model says; unless the labels were taken off one by one just now.
    const again = card.decision?.verdict === "reject" && state.emptied !== card.row;
    if (await decide("accept", again ? { labels: [...card.labels], stance: card.stance } : {})) await go(1, true);
  },
  async reject() { if (await decide("reject", { labels: [], stance: null })) await go(1, true); },
  async skip() { if (await decide("skip")) await go(1, true); },
  next: () => go(1),
  previous: () => go(state.card ? -1 : 0).then(() => { if (!state.card && state.lines.length) return show(state.lines.at(-1).row, state.lines.length - 1); }),
  async toggle(id) {
    const on = state.draft.labels.includes(id);
    const labels = on ? state.draft.labels.filter((one) => one !== id) : [...state.draft.labels, id];
    state.emptied = labels.length ? null : state.card.row;
    await decide("correct", { labels, stance: labels.length ? state.draft.stance ?? likelyStance(state.card) : null });
    document.querySelector(`[data-label="${CSS.escape(id)}"]`)?.focus({ preventScroll: true });
  },
  async stance(one) {
    if (!state.draft.labels.length) return;
    await decide("correct", { stance: one });
  },
  take: (one) => decide("accept", { labels: one.labels, stance: one.stance, settles: true }),
  note() { const { row } = state.card; askNote((note) => inOrder(() => state.card?.row === row && decide("note", { note })).catch(fail)); },
  definitions() { state.definitions = !state.definitions; drawCard(send); $("define")?.focus({ preventScroll: true }); },
  async undo() {
    const said = await post("/api/undo", {});
    state.session.n_undoable = said.n_undoable;
    if (!said.kind) { say(t("said_nothing_to_undo")); return; }
    ahead.clear();
    if (said.kind.startsWith("bulk")) await refresh();
    else {
      const card = await fetchCard(said.rows[0]);
      const at = state.lines.findIndex((one) => one.row === card.row);
      if (state.card?.row !== card.row) { state.card = { row: card.row, decision: { verdict: "accept" } }; state.at = at; }
      took(card, said);
      setCard(card, at);
      get(`/api/counts?${location.search.slice(1)}`).then((found) => { state.counts = found.counts; drawSide(); markLine(); }).catch(fail);
    }
    say(t("said_undo", { n: number(said.n_undoable) }));
    tellTabs(null);
  },
  open: () => $("open-link")?.click(),
  copies() { const box = $("copies"); if (box) box.open = !box.open; },
  search() { showSide(true); $("search").focus(); $("search").select(); },
  help: () => showHelp(keys),
  figures: () => showFigures(() => { state.filter = { ...FILTER_DEFAULTS, status: "disagree", label: "" }; drawFilters(changed); refresh().catch(fail); }),
  bulk: () => state.total && showBulk("accept", (verdict, n) => inOrder(async () => {
    try {
      const said = await post("/api/bulk", { queue: state.queue, verdict, n_posts: n });
      $("dialog").close();
      await refresh();
      say(t("said_bulk", { n: number(said.n_posts) }), verdict);
      tellTabs(null);
    } catch (error) { $("dialog").close(); fail(error); }
  })),
};
const NEED_A_POST = new Set(["accept", "reject", "skip", "toggle", "stance", "take", "note", "definitions", "open", "copies"]);
function send(name, value) {
  const row = state.card?.row; // what was pressed is meant for the post that was shown then, not for one that came meanwhile
  return inOrder(() => { if (!NEED_A_POST.has(name) || (state.card && state.card.row === row)) return actions[name](value); }).catch(fail);
}

// ---- the frame ----------------------------------------------------------------------------------------------------------

function changed() { readFilters(); drawFilters(changed); ahead.clear(); refresh().catch(fail); }
const showSide = (on) => document.body.classList.toggle("side-open", on);

function drawFrame() {
  document.documentElement.lang = state.language;
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  const select = (name, value, pairs, change) => el("label", { class: "mini" }, el("span", { class: "sr" }, t(name)), el("select", { id: `set-${name}`, onchange: (event) => change(event.target.value) }, pairs.map(([v, text]) => el("option", { value: v, selected: v === value }, text))));
  $("tools").setAttribute("aria-label", t("title"));
  $("tools").replaceChildren(
    el("button", { type: "button", class: "quiet only-narrow", onclick: () => showSide(true) }, t("show_list")),
    el("button", { type: "button", class: "quiet", id: "open-figures", onclick: () => send("figures") }, t("figures")),
    el("button", { type: "button", class: "quiet", id: "open-bulk", onclick: () => send("bulk") }, t("bulk")),
    el("button", { type: "button", class: "quiet", id: "open-help", onclick: () => send("help") }, t("help"), el("kbd", { "aria-hidden": "true" }, "?")),
    select("theme", localStorage.getItem("theme") ?? "auto", ["auto", "light", "dark"].map((v) => [v, `${t("theme")}: ${t(`theme_${v}`)}`]), setTheme),
    select("language", state.language, [["en", "English"], ["ru", "Русский"], ["kk", "Қазақша"]], setLanguage),
    el("button", { type: "button", class: "who", id: "who", title: t("reviewer"), onclick: () => askName().then(() => { drawFrame(); return refresh(); }).catch(fail) }, el("span", { class: "sr" }, `${t("reviewer")}: `), state.session.reviewer || "…"));
}
function setTheme(name) {
  localStorage.setItem("theme", name);
  if (name === "auto") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = name;
}
function setLanguage(name) {
  localStorage.setItem("language", name);
  state.language = name;
  drawFrame();
  drawFilters(changed);
  drawSide();
  if (state.card) drawCard(send);
  markLine();
}

async function watch() { // reposts and texts are prepared in the background after the page opens
  while (!state.session.clusters_ready && !state.session.failure) {
    await new Promise((done) => setTimeout(done, 700));
    const now = await get("/api/session").catch(() => null);
    if (!now) return;
    if (now.snippets_ready && state.lines.some((one) => one.snippet === null)) await fillSnippets().then(markLine);
    if (now.clusters_ready || now.failure) {
      Object.assign(state.session, { clusters_ready: now.clusters_ready, failure: now.failure });
      await inOrder(() => refresh(state.card?.row ?? null));
    }
  }
}

async function begin() {
  setTheme(localStorage.getItem("theme") ?? "auto");
  const [words, session] = await Promise.all([get("/texts.json"), get("/api/session")]);
  Object.assign(state, { words, session, language: localStorage.getItem("language") ?? session.language });
  const row = readAddress();
  drawFrame();
  drawFilters(changed);
  if (!session.reviewer) await askName();
  drawFrame();
  await refresh(row);
  document.body.classList.add("ready");
  watch().catch(fail);
}

document.addEventListener("pick-label", (event) => { state.filter.label = state.filter.label === event.detail ? "flagged" : event.detail; drawFilters(changed); refresh().catch(fail); });
document.addEventListener("pick-line", (event) => { showSide(false); inOrder(() => show(state.lines[event.detail].row, event.detail)).catch(fail); });
document.addEventListener("reload-queue", () => refresh().catch(fail));
$("side-close").addEventListener("click", () => showSide(false));
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("list").addEventListener("scroll", () => { const box = $("list"); if (box.scrollTop + box.clientHeight > box.scrollHeight - 600) loadMore().then(markLine).catch(fail); });
channel?.addEventListener("message", (event) => {
  ahead.clear();
  const row = event.data.row;
  const mine = state.card?.row;
  // The shown post stays as it is until a key is pressed: then the server says that something else stands.
  if (row !== null && row !== mine) fetchCard(row).then((card) => refreshLine(row, card)).catch(() => {});
});
listen(send, () => isOpen());
begin().catch((error) => { open("narratives", [el("p", { class: "problem", role: "alert" }, error.message || String(error))], "small"); });
