"use strict";
// Puts the page together for the chosen data set, as its link says.
const browser = new Browser();

function open(place, link = new URLSearchParams()) {
  const study = DATA.studies[place];
  hidden.clear();
  link.getAll("hide").forEach((name) => hidden.add(name));
  const state = {};
  const redraw = () => {
    state.draw = showFrontier(study, (point) => browser.choose(point.setting), redraw);
    if (state.lambda) state.lambda.refresh();
  };
  redraw();
  showSummary(study);
  let ready = false;
  state.lambda = showLambda(study, () => state.draw, () => { if (ready) browser.slide(); });
  browser.open(study, state.lambda.current);
  HELD.slice(1).forEach((id) => hold(link, id));
  state.lambda.refresh();
  browser.filter(Number(link.get("page")));
  ready = true;
}

function start() {
  const link = new URLSearchParams(location.hash.slice(1));
  hold(link, "study");
  open(Number(byId("study").value), link);
}

byId("study").replaceChildren(...DATA.studies.map((s, i) => make("option", { value: i }, named(s.name))));
byId("study").onchange = () => open(Number(byId("study").value));
byId("link").append(copyButton("copy link", () => { writeLink(); return location.href; }));
for (const anchor of document.querySelectorAll('a[href^="#"]')) { // the part after # is the state's
  anchor.onclick = (event) => { event.preventDefault(); document.querySelector(anchor.getAttribute("href")).scrollIntoView(); };
}
showTables();
showChecks();
start();
for (const kind of ["input", "change", "click", "keyup"]) document.addEventListener(kind, writeLink);
window.addEventListener("hashchange", start);
