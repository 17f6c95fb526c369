// The middle and the right: one post, its evidence, its reposts, its narratives.
import { $, el, fill, icon, plain, visible } from "./dom.js";
import { decimal, keyOf, labelName, labelNumber, number, state, t, time } from "./state.js";

export function draftOf(card) {
  const stands = card.decision && card.decision.verdict !== "note" ? card.decision : null;
  return { labels: [...(stands ? stands.labels : card.labels)], stance: stands ? stands.stance : card.stance, note: card.decision?.note ?? "" };
}

export function likelyStance(card) {
  if (card.stance) return card.stance;
  const known = Object.entries(card.stances).filter(([, p]) => p !== null);
  return known.length ? known.reduce((best, one) => (one[1] > best[1] ? one : best))[0] : null;
}

export function drawCard(send) {
  const card = state.card;
  fill($("notices"), [
    !state.session.thresholds_known && el("span", {}, t("no_thresholds")),
    state.session.n_left > 0 && el("span", {}, t("left_decisions", { n: number(state.session.n_left) })),
    !state.session.clusters_ready && !state.session.failure && el("span", {}, t("reposts_coming")),
    state.session.failure && el("span", {}, state.session.failure),
  ]);
  if (!card) {
    const done = state.total > 0;
    fill($("card"), el("div", { class: "empty" }, icon("check"), el("h2", { id: "card-title" }, done ? t("all_done") : t("empty")), el("p", {}, t("all_done_more")),
      el("button", { type: "button", class: "main", onclick: () => document.dispatchEvent(new CustomEvent("reload-queue")) }, t("load_again"))));
    fill($("panel"));
    drawActions(send);
    return;
  }
  const verdict = card.decision?.verdict;
  const link = card.url ? el("a", { href: card.url, target: "_blank", rel: "noopener noreferrer", class: "out", id: "open-link" }, icon("link"), t("open_link")) : el("span", { class: "muted" }, t("no_link"));
  $("card").className = `card ${verdict ? `is-${verdict}` : ""}`;
  fill($("card"), 
    el("header", {},
      el("div", { class: "where" },
        el("h2", { id: "card-title" }, el("bdi", {}, plain(card.channel ?? t("unknown_channel"))), el("span", { class: "sr" }, state.at >= 0 ? ` ${t("post", { n: number(state.at + 1), all: number(state.total) })}` : "")),
        state.at >= 0 && el("span", { class: "count-of", "aria-hidden": "true" }, `${number(state.at + 1)} / ${number(state.total)}`),
        verdict && el("span", { class: `verdict v-${verdict}` }, t(`verdict_${verdict}`))),
      el("p", { class: "facts" },
        el("time", {}, time(card.published)),
        el("span", { class: "lang" }, card.language ?? "–"),
        el("span", {}, icon("eye"), card.views === null ? t("views_unknown") : t("views", { n: number(card.views) })),
        el("span", {}, icon("share"), card.forwards === null ? t("forwards_unknown") : t("forwards", { n: number(card.forwards) })),
        card.forwarded_from && el("span", {}, el("bdi", {}, t("forwarded_from", { name: plain(card.forwarded_from) }))),
        link)),
    el("div", { class: "text", id: "text", dir: "auto", lang: (card.language ?? "").slice(0, 2) || null }, card.text.length && card.text.some((s) => s.text) ? card.text.map(drawSegment) : el("span", { class: "muted" }, t("no_text"))),
    card.cut > 0 && el("p", { class: "muted" }, t("cut", { n: number(card.cut) })),
    (card.screened || card.truncated) && el("p", { class: "remark" }, t(card.screened ? "screened" : "truncated")),
    card.cluster && drawCluster(card.cluster),
    drawOthers(send),
    state.draft.note && el("div", { class: "note-shown" }, icon("note"), el("p", { dir: "auto" }, visible(state.draft.note, t("hidden_character")))));
  drawPanel(send);
  drawActions(send);
}

function drawSegment(segment) {
  const text = visible(segment.text, t("hidden_character"));
  if (!segment.labels.length) return el("span", {}, text);
  const names = segment.labels.map((n) => labelName(state.session.labels[n].id)).join(", ");
  const mark = el("mark", { class: `l${segment.labels[0] % 10} ${segment.labels.length > 1 ? "several" : ""}`, title: t("evidence", { labels: names }) },
    text, segment.labels.map((n) => el("sup", { class: `dot l${n % 10}`, "aria-hidden": "true" }, keyOf(n) || "·")), el("span", { class: "sr" }, ` (${t("evidence", { labels: names })}) `));
  if (segment.labels.length > 1) mark.style.setProperty("--c2", `var(--l${segment.labels[1] % 10})`);
  return mark;
}

function drawCluster(cluster) {
  const where = (one) => plain(one.channel ?? t("unknown_channel"));
  return el("section", { class: "cluster" },
    el("p", { class: "cluster-head" }, icon("copies"), el("strong", {}, t("reposts", { n: number(cluster.size), channels: number(cluster.channels) })),
      cluster.views !== null && el("span", {}, t("reposts_views", { n: number(cluster.views) })), el("span", {}, t("reposts_first", { channel: where(cluster.first), time: time(cluster.first.published) }))),
    el("p", { class: "muted" }, t("reposts_once"), cluster.labels_differ ? ` ${t("reposts_differ")}` : ""),
    el("details", { id: "copies" }, el("summary", {}, t("reposts_show")),
      el("ol", {}, cluster.copies.map((one) => el("li", { class: one.row === state.card.row ? "here" : "" }, el("bdi", {}, where(one)), el("span", {}, time(one.published)), el("span", {}, icon("eye"), number(one.views)))))));
}

function drawOthers(send) {
  const card = state.card;
  if (!card.n_others) return null;
  if (!card.others.length) return el("p", { class: "others muted" }, t("others_hidden", { n: number(card.n_others) }));
  return el("section", { class: `others ${card.disagree ? "disagree" : ""}` }, el("h3", {}, t("others")),
    card.disagree && el("p", {}, t("others_settle")),
    [card.decision, ...card.others].map((one, n) => el("div", { class: "other" },
      el("strong", {}, el("bdi", {}, plain(one.reviewer)), n === 0 ? ` (${t("you")})` : ""),
      el("span", {}, one.labels.length ? one.labels.map((id) => labelName(id)).join(", ") : t("no_narrative"), one.stance ? ` · ${t(one.stance)}` : "", one.settles ? ` · ${t("others_settled")}` : ""),
      one.note && el("em", { dir: "auto" }, visible(one.note, t("hidden_character"))),
      card.disagree && el("button", { type: "button", class: "quiet take", onclick: () => send("take", one) }, t("others_take")))));
}

function drawPanel(send) {
  const card = state.card;
  const rows = state.session.labels.map((one, n) => {
    const p = card.probabilities[n];
    const on = state.draft.labels.includes(one.id);
    const over = p !== null && p >= one.threshold;
    const bar = el("span", { class: "meter", "aria-hidden": "true" }, el("span", { class: "fill" }), el("span", { class: "at" }));
    bar.style.setProperty("--p", p ?? 0);
    bar.style.setProperty("--t", one.threshold);
    return el("li", { class: `row l${n % 10} ${on ? "on" : ""} ${over ? "over" : ""}` },
      el("button", { type: "button", role: "checkbox", "aria-checked": String(on), class: "toggle", "data-label": one.id, title: `${t("threshold", { n: decimal(one.threshold) })}`,
        "aria-label": `${labelName(one.id)}, ${t("model_says", { n: decimal(p) })}, ${t("threshold", { n: decimal(one.threshold) })}`, onclick: () => send("toggle", one.id) },
      el("span", { class: "dot", "aria-hidden": "true" }, keyOf(n) || "·"), el("span", { class: "name" }, labelName(one.id)), el("span", { class: "p" }, decimal(p)), bar),
      state.definitions && (on || !state.draft.labels.length) && drawDefinition(one));
  });
  const stances = state.session.stances.map((one) => el("button", { type: "button", role: "radio", class: `stance s-${one}`, "aria-checked": String(state.draft.stance === one), disabled: !state.draft.labels.length, "data-stance": one, onclick: () => send("stance", one) },
    el("span", {}, t(one)), el("span", { class: "p" }, decimal(card.stances[one])), el("kbd", { "aria-hidden": "true" }, { endorses: "E", reports: "R", refutes: "F" }[one])));
  fill($("panel"), 
    el("div", { class: "panel-head" }, el("h2", { id: "panel-title" }, t("labels")),
      el("button", { type: "button", class: "quiet", id: "define", "aria-pressed": String(state.definitions), onclick: () => send("definitions") }, t("definitions"), el("kbd", { "aria-hidden": "true" }, "D"))),
    el("ul", { class: "rows" }, rows),
    el("h3", { id: "stance-title" }, t("stance")),
    el("div", { class: "stances", role: "radiogroup", "aria-labelledby": "stance-title" }, stances));
}

export function drawDefinition(one) {
  const text = one.definitions[state.language] || one.definitions.en;
  const not = one.not_this[state.language] || one.not_this.en;
  const example = one.examples.find((e) => e.language === state.language) ?? one.examples[0];
  return el("div", { class: "definition" }, el("p", {}, text || t("no_definition")), not && el("p", { class: "not" }, el("strong", {}, `${t("not_this")}: `), not),
    example && el("p", { class: "muted", lang: example.language }, el("strong", {}, `${t("example")}: `), example.text));
}

function drawActions(send) {
  const off = !state.card;
  const button = (name, shape, key, klass = "") => el("button", { type: "button", class: `act ${klass}`, id: `act-${name}`, disabled: off && !["undo", "previous"].includes(name), "aria-keyshortcuts": key, onclick: () => send(name) }, icon(shape), el("span", { class: "act-name" }, t(name)), el("kbd", { "aria-hidden": "true" }, key));
  $("actions").setAttribute("aria-label", t("keys"));
  const kept = document.activeElement?.id;
  fill($("actions"), 
    button("previous", "left", "K", "small"), button("reject", "cross", "X", "reject"), button("accept", "check", "A", "accept"), button("next", "right", "J", "small"),
    el("span", { class: "gap" }), button("skip", "skip", "S", "small"), button("note", "note", "N", "small"), button("undo", "undo", "U", "small"));
  if (kept?.startsWith("act-")) $(kept)?.focus();
  if (!state.session.n_undoable) $("act-undo").disabled = true;
}
