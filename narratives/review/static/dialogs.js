// What opens over the page: name, help, note, deciding all, figures.
import { $, el, fill, plain } from "./dom.js";
import { decimal, get, keyOf, labelName, labelNumber, number, post, Refused, state, t, time } from "./state.js";

const dialog = () => $("dialog");

export function open(title, body, klass = "", closable = true) {
  const box = dialog();
  box.className = klass;
  fill(box, el("div", { class: "dialog-head" }, el("h2", { id: "dialog-title" }, title), closable && el("button", { type: "button", class: "quiet", onclick: () => box.close() }, t("close"), el("kbd", { "aria-hidden": "true" }, "Esc"))), body);
  box.oncancel = (event) => { if (!closable) event.preventDefault(); };
  if (!box.open) box.showModal();
  return box;
}
export const isOpen = () => dialog().open;

export function askName() {
  return new Promise((resolve) => {
    const input = el("input", { id: "name", maxlength: 40, required: true, autocomplete: "off", value: localStorage.getItem("reviewer") ?? "" });
    const problem = el("p", { class: "problem", role: "alert" });
    const form = el("form", { onsubmit: async (event) => {
      event.preventDefault();
      try {
        const said = await post("/api/session", { reviewer: input.value });
        localStorage.setItem("reviewer", said.reviewer);
        Object.assign(state.session, said);
        dialog().close();
        resolve();
      } catch (error) { problem.textContent = error.message; }
    } }, el("label", { class: "field", for: "name" }, el("span", {}, t("name"))), input, problem, el("p", { class: "muted" }, t("name_hint")), el("div", { class: "buttons" }, el("button", { class: "main", id: "begin" }, t("begin"))));
    open(t("name_title"), [form], "small", Boolean(state.session.reviewer));
    input.focus();
    input.select();
  });
}

export function askNote(save) {
  const area = el("textarea", { id: "note", rows: 5, maxlength: 2000, "aria-label": t("note") });
  area.value = state.draft.note;
  const done = () => { dialog().close(); save(area.value); };
  area.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); done(); } });
  open(t("note"), [area, el("p", { class: "muted" }, t("note_hint")), el("div", { class: "buttons" }, el("button", { type: "button", class: "quiet", onclick: () => dialog().close() }, t("cancel")), el("button", { type: "button", class: "main", id: "save-note", onclick: done }, t("save"), el("kbd", { "aria-hidden": "true" }, "Ctrl+↵")))], "small");
  area.focus();
}

export function showHelp(keys) {
  const rows = [["A", "↵", "accept"], ["X", "", "reject"], ["J", "→", "next"], ["K", "←", "previous"], ["S", "", "skip"], ["U", "Ctrl+Z", "undo"], ["1–9", "0", "toggle_label"], ["E R F", "", "set_stance"], ["N", "", "note"], ["D", "", "key_definitions"], ["C", "", "key_reposts"], ["O", "", "key_open"], ["/", "", "key_search"], ["B", "", "bulk"], ["G", "", "figures"], ["?", "H", "help"]];
  open(t("keys"), [
    el("dl", { class: "keys" }, rows.map(([key, other, name]) => el("div", {}, el("dt", {}, key.split(" ").map((k) => el("kbd", {}, k)), other && el("kbd", {}, other)), el("dd", {}, t(name), name === "set_stance" ? `: ${t("endorses")}, ${t("reports")}, ${t("refutes")}` : "")))),
    el("label", { class: "tick" }, el("input", { type: "checkbox", id: "keys-on", checked: keys.on, onchange: (event) => keys.set(event.target.checked) }), el("span", {}, t("keys_on"))),
    el("p", { class: "muted" }, t("keys_hint")), el("p", { class: "muted" }, t("about_decisions", { file: state.session.decisions }))], "wide");
}

export async function showBulk(verdict, apply) {
  const choice = (name) => el("label", { class: "tick" }, el("input", { type: "radio", name: "bulk", value: name, checked: name === verdict, onchange: () => showBulk(name, apply) }), el("span", {}, t(`bulk_${name}`)));
  const head = el("fieldset", { class: "choices" }, el("legend", { class: "sr" }, t("bulk_title")), choice("accept"), choice("reject"));
  let seen;
  try { seen = await post("/api/bulk/preview", { queue: state.queue, verdict }); } catch (error) {
    if (!(error instanceof Refused)) throw error;
    open(t("bulk_title"), [el("p", { class: "problem", role: "alert" }, error.message)]);
    return;
  }
  const names = Object.entries(seen.labels).map(([id, n]) => el("li", {}, el("span", { class: `dot ${id === "none" ? "" : `l${labelNumber(id) % 10}`}`, "aria-hidden": "true" }, id === "none" ? "" : keyOf(labelNumber(id))), `${id === "none" ? t("no_narrative") : labelName(id)}: ${number(n)}`));
  open(t("bulk_title"), [head, el("p", { id: "bulk-counts" }, t("bulk_counts", { n: number(seen.n_posts), kept: number(seen.n_kept) })), el("ul", { class: "bulk-labels" }, names),
    seen.lines.length > 0 && el("h3", {}, t("bulk_sample")),
    el("ul", { class: "bulk-lines" }, seen.lines.map((one) => el("li", { dir: "auto" }, el("span", { class: "muted" }, `${plain(one.channel ?? t("unknown_channel"))} · ${time(one.published, true)} `), plain(one.snippet)))),
    el("p", { class: "remark" }, t("bulk_warning")),
    el("div", { class: "buttons" }, el("button", { type: "button", class: "quiet", onclick: () => dialog().close() }, t("cancel")),
      el("button", { type: "button", class: `main ${verdict}`, id: "bulk-apply", disabled: !seen.n_posts, onclick: async (event) => { event.target.disabled = true; await apply(verdict, seen.n_posts); } }, t("bulk_apply", { n: number(seen.n_posts) })))], "wide");
  dialog().querySelector("input:checked")?.focus();
}

export async function showFigures(showDisagreements) {
  const f = await get("/api/figures");
  const share = (p) => (p.n ? [el("span", { class: "value" }, decimal(p.n_right / p.n)), el("span", { class: "interval" }, ` [${decimal(p.low)}, ${decimal(p.high)}]`)] : "–");
  const meter = (p) => { const bar = el("span", { class: "ci", "aria-hidden": "true" }, p.n > 0 && el("span", { class: "span" }), p.n > 0 && el("span", { class: "at" })); bar.style.setProperty("--low", p.low); bar.style.setProperty("--high", p.high); bar.style.setProperty("--p", p.n ? p.n_right / p.n : 0); return bar; };
  const row = (id, name, p, klass) => el("tr", { class: klass }, el("th", { scope: "row" }, klass && el("span", { class: "dot", "aria-hidden": "true" }, keyOf(labelNumber(id))), name), el("td", {}, number(p.n)), el("td", { class: "wide-cell" }, meter(p)), el("td", {}, share(p)), el("td", {}, f.alpha[id] === null ? "–" : decimal(f.alpha[id])));
  open(t("figures_title"), [
    el("p", {}, t("figures_read", { n: number(f.n_read), bulk: number(f.n_bulk), twice: number(f.n_twice), same: number(f.n_same) })),
    el("div", { class: "scroll" }, el("table", { class: "figures" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, t("label")), el("th", { scope: "col" }, "n"), el("th", { scope: "col", class: "wide-cell", "aria-hidden": "true" }), el("th", { scope: "col" }, t("precision")), el("th", { scope: "col" }, t("agreement")))),
      el("tbody", {}, state.session.labels.map((l, n) => row(l.id, labelName(l.id), f.precision[l.id], `l${n % 10}`)), row("stance", t("stance"), f.stance, "")))),
    el("p", { class: "muted" }, t("precision_hint")), el("p", { class: "muted" }, t("agreement_hint")),
    el("h3", {}, t("reviewers")), el("ul", { class: "reviewers" }, Object.entries(f.reviewers).map(([name, n]) => el("li", {}, el("bdi", {}, plain(name)), ` · ${t("n_reviewed")}: ${number(n)}`))),
    f.n_disagreements > 0 && el("p", { class: "remark" }, t("disagreements", { n: number(f.n_disagreements) }), " ", el("button", { type: "button", class: "quiet", id: "show-disagreements", onclick: () => { dialog().close(); showDisagreements(); } }, t("show_disagreements")))], "wide");
}
