"use strict";
// Small helpers, sortable tables and the check points. Text enters the page as textContent only.
const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// A label or a text of results as figures show it.
const named = (text) => (Object.hasOwn(DATA.names, text) ? DATA.names[text] : text);

function shown(value, digits = 4, whole = true) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return named(String(value));
  if (whole && Number.isInteger(value)) return String(value);
  const text = value.toFixed(digits), least = 10 ** -digits;
  if (value > 0 && value < 1 && [0, 1].includes(Number(text))) return value < 0.5 ? `<${least.toFixed(digits)}` : `>${(1 - least).toFixed(digits)}`;
  return Number(text) === 0 ? text.replace("-", "") : text;
}

function compareCells(a, b) {
  const empty = (x) => x === null || x === undefined || x === "";
  if (empty(a) || empty(b)) return empty(a) - empty(b);
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}

const MINOR = ["interval", "delta_aiq", "unparsed_rate"]; // left out of a narrow window

// A table as people see it, its CSV with every column and digit.
function sortableTable(name, { columns, view }, rows) {
  const state = { column: -1, down: false };
  const body = make("tbody");
  const names = view.map(([column]) => column);
  const isNumber = names.map((c) => rows.some((r) => typeof r[c] === "number"));
  const whole = names.map((c) => rows.every((r) => typeof r[c] !== "number" || Number.isInteger(r[c])));
  const kind = (i) => `${isNumber[i] ? "number" : ""} ${MINOR.includes(names[i]) ? "minor" : ""}`;
  const fill = () => {
    const order = [...rows];
    if (state.column >= 0) {
      const by = names[state.column];
      order.sort((a, b) => compareCells(a[by], b[by]) * (state.down ? -1 : 1));
    }
    body.replaceChildren(...order.map((row) => make("tr", {}, ...view.map(([column, , digits], i) =>
      make("td", { class: kind(i) }, shown(row[column], digits ?? 4, whole[i]))))));
  };
  const heads = view.map(([, heading], i) => {
    const head = make("th", { class: kind(i), scope: "col", "aria-sort": "none" });
    head.append(make("button", { type: "button", onclick: () => {
      state.down = state.column === i ? !state.down : isNumber[i];
      state.column = i;
      heads.forEach((h, j) => h.setAttribute("aria-sort", j !== i ? "none" : state.down ? "descending" : "ascending"));
      fill();
    } }, heading));
    return head;
  });
  fill();
  const table = make("div", { class: "scroll", tabindex: 0 }, make("table", {}, make("thead", {}, make("tr", {}, ...heads)), body));
  return make("div", {}, table, exports(name, "CSV", () => csv(columns, rows)));
}

// The main table's lines of a study, and what they come to.
function showSummary(study) {
  const { columns, view, rows } = DATA.tables.main_table;
  const own = rows.filter((row) => row.dataset === study.name), one = study.headline;
  byId("main-table").replaceChildren(sortableTable("main_table", { columns, view: view.filter(([name]) => name !== "dataset") }, own));
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const figures = one ? [[percent(one.kept), `of the accuracy of ${named("always_full")} kept: ${one.accuracy.toFixed(4)} of ${one.full.toFixed(4)}`],
    [percent(one.cost), `of the cost of ${named("always_full")}`], [percent(one.blind), "of the questions answered without an image"]] : [];
  byId("headline").replaceChildren(...figures.map(([number, text]) => make("div", {}, make("strong", {}, number), text)));
  byId("headline-of").textContent = one ? named(one.setting) : `Needs runs of VoVNet and of ${named("always_full")}.`;
}

function showTables() {
  const facts = DATA.facts;
  const counted = (number, thing) => `${number} ${thing}${number === 1 ? "" : "s"}`;
  const counts = `${counted(facts.runs, "run")} of ${counted(facts.studies, "protocol")}`;
  byId("facts").textContent = `${counts}, VoVNet ${facts.version}, commit ${facts.commit}`;
  byId("warning").textContent = DATA.warning;
  byId("warning").hidden = !DATA.warning;
  const table = (name) => sortableTable(name, DATA.tables[name], DATA.tables[name].rows);
  const others = Object.keys(DATA.tables).filter((name) => name !== "main_table" && DATA.tables[name].rows.length);
  byId("more-tables").replaceChildren(...others.map((name) =>
    make("details", {}, make("summary", {}, name.replaceAll("_", " ")), table(name))));
}

function showChecks() {
  const failed = DATA.checks.filter((c) => !c.passed).length;
  const rows = DATA.checks.map((c) => make("tr", {},
    make("td", { class: c.passed ? "passed" : "failed" }, c.passed ? "pass" : "FAIL"),
    make("td", {}, c.name), make("td", {}, c.observed), make("td", {}, c.folder)));
  const head = make("thead", {}, make("tr", {}, ...["", "check point", "seen", "folder"].map((t) => make("th", { scope: "col" }, t))));
  const parts = [make("p", {}, `${DATA.checks.length - failed} of ${DATA.checks.length} check points passed.`)];
  if (rows.length) parts.push(make("div", { class: "scroll", tabindex: 0 }, make("table", {}, head, make("tbody", {}, ...rows))));
  if (DATA.unfinished.length) {
    parts.push(make("h3", {}, "Left out"), make("ul", {}, ...DATA.unfinished.map((text) => make("li", {}, text))));
  }
  byId("checks-body").replaceChildren(...parts);
}
