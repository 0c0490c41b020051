"use strict";
// Puts the page together for the chosen data set.
const browser = new Browser();

function open(place) {
  const study = DATA.studies[place];
  hidden.clear();
  const choose = (point) => { browser.choose(point.setting); };
  const state = { draw: showFrontier(study, choose) };
  let ready = false;
  const lambda = showLambda(study, () => state.draw, () => { if (ready) browser.slide(); });
  browser.open(study, lambda.current);
  ready = true;
}

byId("study").replaceChildren(...DATA.studies.map((s, i) => make("option", { value: i }, s.name)));
byId("study").onchange = () => open(Number(byId("study").value));
showTables();
showChecks();
open(0);
