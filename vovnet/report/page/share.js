"use strict";
// What the page shows as a link; tables and charts as files.
const HELD = ["study", "policy", "slider", "chooser", "versus", "order", "by-action", "by-error", "by-category", "by-text"];

function writeLink() {
  const state = new URLSearchParams();
  for (const id of HELD) {
    const element = byId(id), option = element.selectedOptions && element.selectedOptions[0];
    const value = option ? option.text : element.value;
    if (value) state.set(id, value);
  }
  for (const name of hidden) state.append("hide", name);
  if (browser.page) state.set("page", browser.page);
  history.replaceState(null, "", `#${state}`);
}

// Sets a control to what a link says; what the page does not have is left as it is.
function hold(link, id) {
  const element = byId(id), value = link.get(id);
  if (value === null) return;
  const option = [...(element.options || [])].find((o) => o.text === value);
  if (option) element.value = option.value;
  else if (!element.options) element.value = value;
}

function csv(columns, rows) {
  const cell = (v) => (v === null || v === undefined ? "" : /[",\r\n]/.test(v) ? `"${String(v).replaceAll('"', '""')}"` : String(v));
  return [columns, ...rows.map((row) => columns.map((name) => row[name]))].map((line) => line.map(cell).join(",") + "\n").join("");
}

// A chart as a file of its own: what the style sheet says becomes attributes.
function standalone(root) {
  const copy = root.cloneNode(true), cloned = [...copy.querySelectorAll("*")];
  [...root.querySelectorAll("*")].forEach((element, i) => {
    const style = getComputedStyle(element);
    for (const name of ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-family", "font-weight", "visibility"]) cloned[i].setAttribute(name, style.getPropertyValue(name));
    for (const name of ["class", "style", "tabindex", "role"]) cloned[i].removeAttribute(name);
  });
  const [, , width, height] = root.getAttribute("viewBox").split(" ");
  copy.prepend(svg("rect", { width, height, fill: getComputedStyle(document.body).backgroundColor }));
  for (const [name, value] of Object.entries({ width, height })) copy.setAttribute(name, value);
  return new XMLSerializer().serializeToString(copy);
}

function save(name, text) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "application/octet-stream" })), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}

function copyButton(label, text) {
  const button = make("button", { type: "button", onclick: () => navigator.clipboard.writeText(text()).then(
    () => { button.textContent = "copied"; }, () => { button.textContent = "the browser does not allow it"; }) }, label);
  button.addEventListener("blur", () => { button.textContent = label; });
  return button;
}

// Buttons that copy and save what ``text`` makes.
const exports = (name, kind, text) => make("p", { class: "exports" }, copyButton(`copy ${kind}`, text),
  make("button", { type: "button", onclick: () => save(`${name}.${kind.toLowerCase()}`, text()) }, `save ${kind}`));
