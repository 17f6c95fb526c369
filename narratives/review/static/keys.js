// One key each. A Latin letter counts by what it types; in any other layout (Russian, Kazakh) by the place of its key.

const BY_LETTER = { a: "accept", x: "reject", j: "next", k: "previous", s: "skip", u: "undo", n: "note", d: "definitions", c: "copies", o: "open", b: "bulk", g: "figures", h: "help" };
const STANCES = { e: "endorses", r: "reports", f: "refutes" };

export const keys = {
  on: localStorage.getItem("keys") !== "off",
  set(on) { keys.on = on; localStorage.setItem("keys", on ? "on" : "off"); },
};

export function letterOf(event) {
  if (/^[a-z]$/i.test(event.key)) return event.key.toLowerCase();
  return /^Key[A-Z]$/.test(event.code) ? event.code.slice(3).toLowerCase() : "";
}

export function listen(send, blocked) {
  document.addEventListener("keydown", (event) => {
    if (!keys.on || blocked() || event.isComposing || event.altKey) return;
    const typing = event.target.closest?.("input:not([type=checkbox]):not([type=radio]), textarea, select");
    if (typing) { if (event.key === "Escape") event.target.blur(); return; }
    const letter = letterOf(event);
    if (event.ctrlKey || event.metaKey) {
      if (letter === "z" && !event.shiftKey) { event.preventDefault(); send("undo"); }
      return;
    }
    const pressable = event.target.closest?.("button, a[href], summary");
    const act = (name, value) => { event.preventDefault(); if (!event.repeat || name === "next" || name === "previous") send(name, value); };
    if (event.key === "?") act("help");
    else if (event.key === "Enter" && !pressable) act("accept");
    else if (event.key === "ArrowRight" && !event.shiftKey) act("next");
    else if (event.key === "ArrowLeft" && !event.shiftKey) act("previous");
    else if (event.key === "/" || (event.code === "Slash" && !letter && !event.shiftKey)) act("search");
    else if (/^(Digit|Numpad)\d$/.test(event.code) && !event.shiftKey) {
      const digit = Number(event.code.at(-1));
      const id = document.querySelectorAll("#panel .toggle")[digit === 0 ? 9 : digit - 1]?.dataset.label;
      if (id) act("toggle", id);
    } else if (letter && !event.shiftKey) {
      if (BY_LETTER[letter]) act(BY_LETTER[letter]);
      else if (STANCES[letter]) act("stance", STANCES[letter]);
    }
  });
}
