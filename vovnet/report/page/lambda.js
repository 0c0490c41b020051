"use strict";
// The decision rule in the page: argmax of value less lambda times cost, ties to the cheaper action.
const OWN_TONES = ["#CC79A7", "#E69F00", "#8c6d31", "#882255"]; // of looks of a menu's own
const DARK = ["var(--full)", "#8c6d31", "#882255"]; // under white letters
const USUAL = ["NO", "COARSE", "FULL"];
const tone = (looks, look) => USUAL.includes(look) ? `var(--${look.toLowerCase()})` : OWN_TONES[looks.filter((l) => !USUAL.includes(l)).indexOf(look) % OWN_TONES.length];
const filled = (color) => `background:${color};color:${DARK.includes(color) ? "#fff" : "#000"}`;
let begun = { place: 0, lambda: 0 }; // the main table's lambda, exactly, at the nearest place
const lambdaAt = (place) => (place === begun.place ? begun.lambda : place === 0 ? 0 : 0.001 * 2000 ** ((place - 1) / 99)); // 0, then 0.001 to 2
const placeOf = (lambda) => (lambda < 0.0005 ? 0 : Math.max(1, Math.min(100, Math.round(1 + (99 * Math.log(lambda / 0.001)) / Math.log(2000)))));

function decide(study, policy, lambda) {
  const count = study.samples.id.length, actions = new Uint8Array(count);
  const values = policy.values, costs = study.samples.cost, space = policy.space;
  for (let i = 0; i < count; i += 1) {
    let chosen = 0;
    for (let costly = 1; costly < space.length; costly += 1) {
      let wins = true;
      for (let cheap = 0; cheap < costly && wins; cheap += 1) {
        wins = values[costly][i] - values[cheap][i] > lambda * (costs[space[costly]][i] - costs[space[cheap]][i]);
      }
      if (wins) chosen = costly;
    }
    actions[i] = space[chosen];
  }
  return actions;
}

function outcome(study, actions) {
  const rates = study.looks.map(() => 0);
  let score = 0, cost = 0;
  actions.forEach((a, i) => { rates[a] += 1; score += study.samples.score[a][i]; cost += study.samples.cost[a][i]; });
  const count = Math.max(1, actions.length);
  return { rates: rates.map((r) => r / count), accuracy: score / count, cost: cost / count };
}

function lambdaCurve(study, policy) {
  policy.curve = policy.curve || Array.from({ length: 101 }, (_, place) => outcome(study, decide(study, policy, lambdaAt(place))));
  return policy.curve;
}

function showLambda(study, draw, onChoice) {
  const body = byId("lambda-body"), slider = byId("slider");
  const some = study.policies.length > 0 && study.samples.id.length > 0;
  body.hidden = !some;
  const old = byId("no-policy");
  if (old) old.remove();
  if (!some) {
    byId("lambda").append(make("p", { id: "no-policy", class: "hint" }, "Needs a trained policy's run and all branches in the outcome store."));
    return { refresh() {}, current: () => null };
  }
  byId("policy").replaceChildren(...study.policies.map((p, i) => make("option", { value: i }, named(p.label))));
  byId("policy").value = Math.max(0, study.policies.findIndex((p) => study.headline && p.label === study.headline.curve));
  const begin = () => {
    const { lambda } = current().policy;
    begun = { place: placeOf(lambda), lambda };
    slider.value = begun.place;
  };
  const current = () => ({ policy: study.policies[byId("policy").value || 0], place: Number(slider.value) });
  const refresh = () => {
    const { policy, place } = current(), curve = lambdaCurve(study, policy), now = curve[place];
    byId("lambda-value").textContent = lambdaAt(place).toPrecision(3);
    slider.setAttribute("aria-valuetext", `lambda ${lambdaAt(place).toPrecision(3)}`);
    byId("bar").replaceChildren(...now.rates.map((rate, a) => make("span", { style: `width:${100 * rate}%;${filled(tone(study.looks, study.looks[a]))}` }, rate > 0.06 ? `${study.looks[a]} ${(100 * rate).toFixed(1)} %` : "")));
    byId("bar").setAttribute("aria-label", now.rates.map((r, a) => `${study.looks[a]} ${(100 * r).toFixed(1)} percent`).join(", "));
    byId("lambda-text").textContent = `accuracy ${now.accuracy.toFixed(4)}, average cost ${now.cost.toFixed(4)}, utility ${(now.accuracy - lambdaAt(place) * now.cost).toFixed(4)} on ${study.samples.id.length} samples`;
    const here = document.getElementById("here");
    here.setAttribute("cx", draw().x(now.cost));
    here.setAttribute("cy", draw().y(now.accuracy));
    here.setAttribute("visibility", "visible");
    drawCurve(study.looks, policy.space, curve, place);
    onChoice();
  };
  slider.oninput = refresh;
  byId("policy").onchange = () => { begin(); refresh(); };
  begin();
  refresh();
  return { refresh, current };
}

function drawCurve(looks, space, curve, place) {
  const xticks = [0, 34, 67, 100].map((at) => ({ at, label: at ? lambdaAt(at).toPrecision(1) : "0" }));
  const plot = axes({ x: [0, 100], y: [0, 1], xticks }, { x: "λ: the accuracy that one maximal FULL image is worth", y: "share, accuracy" }, { width: 720, height: 246, top: 26 });
  const line = (value, stroke, more = {}) => plot.root.append(svg("polyline", { points: curve.map((c, i) => `${plot.x(i)},${plot.y(value(c))}`).join(" "), fill: "none", stroke, "stroke-width": 1.8, ...more }));
  space.forEach((a) => line((c) => c.rates[a], tone(looks, looks[a])));
  line((c) => c.accuracy, "#D55E00", { "stroke-width": 2.4 });
  line((c) => Math.min(1, c.cost), "#009E73", { "stroke-dasharray": "5 3" });
  plot.root.append(svg("line", { class: "axis", x1: plot.x(place), x2: plot.x(place), y1: plot.y(0), y2: plot.y(1) }));
  const names = [["accuracy", "#D55E00"], ["cost", "#009E73"], ...space.map((a) => [looks[a], tone(looks, looks[a])])];
  let at = 60;
  for (const [name, fill] of names) {
    const swatch = svg("rect", { x: at, y: 8, width: 10, height: 8 });
    swatch.style.fill = fill;
    plot.root.append(swatch, svg("text", { x: at + 14, y: 16 }, name));
    at += Math.max(80, 9 * name.length + 24);
  }
  byId("lambda-plot").replaceChildren(plot.root);
  byId("lambda-exports").replaceChildren(exports("lambda", "SVG", () => standalone(plot.root)));
}
