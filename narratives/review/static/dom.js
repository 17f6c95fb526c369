// Elements are built from text alone: nothing that came from a post is ever read as HTML.

export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else node.setAttribute(name, String(value));
  }
  for (const child of children.flat()) if (child !== null && child !== undefined && child !== false) node.append(child);
  return node;
}

// The same for an element that is there: what is false or null is left out.
export const fill = (node, ...children) => node.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));

export const $ = (id) => document.getElementById(id);

// Characters that turn or hide text; a zero-width joiner stays, emoji are made with it.
const HIDDEN = /([\u202A-\u202E\u2066-\u2069\u200B\u200C\u200E\u200F\u061C\u00AD\u2060\uFEFF\u0000-\u0008\u000B-\u001F\u007F-\u009F])/;
const CODE = (c) => `U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

// Text with its hidden characters made visible, so that no post can turn the page's own words around.
export function visible(text, name) {
  return text.split(HIDDEN).filter(Boolean).map((part) =>
    HIDDEN.test(part) ? el("span", { class: "hidden-char", title: `${name} ${CODE(part)}`, role: "img", "aria-label": `${name} ${CODE(part)}` }, CODE(part).slice(2)) : part);
}

export const plain = (text) => text.split(HIDDEN).filter((part) => !HIDDEN.test(part)).join("").replace(/\s+/g, " ").trim();

const SHAPES = {
  check: "M5 12.5l4.5 4.5L19 7.5", cross: "M6 6l12 12M18 6L6 18", undo: "M9 7L4.5 11.5 9 16M5 11.5h9a5 5 0 0 1 0 10h-2",
  left: "M14.5 5.5L8 12l6.5 6.5", right: "M9.5 5.5L16 12l-6.5 6.5", skip: "M5 6l6.5 6L5 18zM12.5 6l6.5 6-6.5 6z", note: "M5 19.5l1-4L16 5.5l3 3-10 10zM13.5 8l3 3",
  list: "M4.5 7h15M4.5 12h15M4.5 17h15", link: "M10 6H6v12h12v-4M13 5h6v6M19 5l-8.5 8.5", copies: "M8 8h11v11H8zM5 16V5h11", eye: "M2.5 12s3.5-6 9.5-6 9.5 6 9.5 6-3.5 6-9.5 6-9.5-6-9.5-6zM12 9.5a2.5 2.5 0 1 1 0 5 2.5 2.5 0 0 1 0-5z",
  share: "M13 6l6 5-6 5v-3.2C8 12.8 5.5 15 4.5 18c0-5 3-8.6 8.5-9z",
};
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [k, v] of Object.entries({ viewBox: "0 0 24 24", class: `icon icon-${name}`, "aria-hidden": "true", focusable: "false" })) svg.setAttribute(k, v);
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", SHAPES[name]);
  svg.append(path);
  return svg;
}
