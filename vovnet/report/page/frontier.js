"use strict";
// The interactive frontier: SVG axes, curves, points that tell their numbers.
const FIXED = { no_vision: "v", always_coarse: "^", always_full: "s" };
const SHAPES = { // by the names that the figures' markers have
  o: "M-5 0A5 5 0 1 0 5 0A5 5 0 1 0-5 0Z", s: "M-5-5H5V5H-5Z", "^": "M0-6L6 5H-6Z", v: "M0 6L6-5H-6Z", "<": "M-6 0L5-6V6Z",
  ">": "M6 0L-5-6V6Z", D: "M0-6L6 0L0 6L-6 0Z", P: "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
  X: "M-6-3L-3-6L0-3L3-6L6-3L3 0L6 3L3 6L0 3L-3 6L-6 3L-3 0Z", "*": "M0-7L2-2H7L3 1L4 7L0 3L-4 7L-3 1L-7-2H-2Z" };

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function ticks(low, high, count = 6) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const found = [];
  for (let t = Math.ceil(low / step) * step; t <= high + 1e-9; t += step) found.push(Number(t.toFixed(9)));
  return found;
}

// Axes for data ranges; returns the drawing and the two scales.
function axes(range, labels, size = { width: 720, height: 400 }) {
  const pad = { left: 56, right: 14, top: size.top || 10, bottom: 44 };
  const x = (v) => pad.left + ((v - range.x[0]) / (range.x[1] - range.x[0])) * (size.width - pad.left - pad.right);
  const y = (v) => size.height - pad.bottom - ((v - range.y[0]) / (range.y[1] - range.y[0])) * (size.height - pad.top - pad.bottom);
  const root = svg("svg", { viewBox: `0 0 ${size.width} ${size.height}`, role: "group", "aria-label": `${labels.y} against ${labels.x}` });
  for (const t of range.xticks || ticks(...range.x)) {
    const at = range.xticks ? t.at : t;
    root.append(svg("line", { class: "grid", x1: x(at), x2: x(at), y1: pad.top, y2: size.height - pad.bottom }),
      svg("text", { x: x(at), y: size.height - pad.bottom + 15, "text-anchor": "middle" }, range.xticks ? t.label : String(t)));
  }
  for (const t of ticks(...range.y)) {
    root.append(svg("line", { class: "grid", x1: pad.left, x2: size.width - pad.right, y1: y(t), y2: y(t) }),
      svg("text", { x: pad.left - 6, y: y(t) + 4, "text-anchor": "end" }, String(t)));
  }
  root.append(svg("text", { x: (size.width + pad.left) / 2, y: size.height - 8, "text-anchor": "middle" }, labels.x),
    svg("text", { x: 14, y: size.height / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${size.height / 2})` }, labels.y));
  return { root, x, y };
}

function mark(shape, cx, cy, attributes) {
  return svg("path", { d: SHAPES[shape], transform: `translate(${cx} ${cy})`, ...attributes });
}

function describe(p) {
  const rates = p.rates.map(([look, r]) => `${look} ${(100 * r).toFixed(1)} %`).join(", ");
  const name = named(p.setting) + (p.seeds > 1 ? ", and other seeds" : "");
  const spread = p.seeds > 1 ? `mean of ${p.seeds} seeds; ± one standard deviation: ` : "";
  return `${name}\naccuracy ${p.accuracy.toFixed(4)} (${spread}${p.low.toFixed(4)} to ${p.high.toFixed(4)})\ncost ${p.cost.toFixed(4)}\n${rates}`;
}

function tip(text, event) {
  const box = byId("tip");
  box.hidden = !text;
  if (!text) return;
  box.textContent = text;
  byId("readout").textContent = text.replaceAll("\n", "; ");
  const place = event.clientX ? { x: event.clientX, y: event.clientY } : event.target.getBoundingClientRect();
  box.style.left = `${Math.min(place.x + 14, window.innerWidth - 320)}px`;
  box.style.top = `${Math.min(place.y + 14, window.innerHeight - 110)}px`;
}

const hidden = new Set();

function showFrontier(study, choose, redraw) {
  const points = study.points;
  const curves = Object.fromEntries(study.curves.map((c) => [c.label, { ...c, color: c.color === "#000000" ? "currentColor" : c.color }]));
  const costs = points.map((p) => p.cost), scores = points.flatMap((p) => [p.low, p.high]);
  const low = Math.max(0, Math.min(...scores) - 0.02), high = Math.min(1.005, Math.max(...scores, ...study.oracle.map((o) => o[1])) + 0.02);
  const draw = axes({ x: [0, Math.max(...costs, 0.1) * 1.04], y: [low, high] }, { x: "average cost (1: a maximal FULL image's tokens)", y: "accuracy" });
  const line = (pairs, attributes) => svg("polyline", { points: pairs.map(([c, q]) => `${draw.x(c)},${draw.y(q)}`).join(" "), fill: "none", ...attributes });
  if (study.mixing.length > 1) draw.root.append(line(study.mixing, { stroke: "#888", "stroke-dasharray": "5 4" }));
  if (study.oracle.length > 1) draw.root.append(line(study.oracle, { stroke: "#888", "stroke-dasharray": "7 3 2 3" }));
  for (const { label, color, learned } of Object.values(curves).filter((c) => !hidden.has(c.label))) {
    const own = points.filter((p) => p.curve === label), ends = (end) => own.map((p) => [p.cost, p[end]]);
    if (own.some((p) => p.seeds > 1)) draw.root.append(line([...ends("low"), ...ends("high").reverse()], { class: "band", fill: color, opacity: 0.18 }));
    draw.root.append(line(ends("accuracy"), { stroke: color, "stroke-width": 1.6, ...(learned ? {} : { "stroke-dasharray": "2 3" }) }));
  }
  for (const p of points.filter((p) => !hidden.has(p.curve))) {
    const { color: shade, marker } = curves[p.curve] || { color: "currentColor", marker: FIXED[p.curve] };
    if (p.seeds === 1) draw.root.append(svg("line", { x1: draw.x(p.cost), x2: draw.x(p.cost), y1: draw.y(p.low), y2: draw.y(p.high), stroke: shade, opacity: 0.5 }));
    const dot = mark(marker, draw.x(p.cost), draw.y(p.accuracy), { class: "dot", fill: shade, tabindex: 0, role: "button", "aria-label": describe(p).replaceAll("\n", ", ") });
    for (const kind of ["mouseenter", "focus"]) dot.addEventListener(kind, (e) => tip(describe(p), e));
    for (const kind of ["mouseleave", "blur"]) dot.addEventListener(kind, () => tip(""));
    const pick = () => choose(p);
    dot.addEventListener("click", pick);
    dot.addEventListener("keydown", (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); pick(); } });
    draw.root.append(dot);
  }
  draw.root.append(svg("circle", { id: "here", r: 9, fill: "none", stroke: "#D55E00", "stroke-width": 2.5, visibility: "hidden" }));
  byId("plot").replaceChildren(draw.root, exports("frontier", "SVG", () => standalone(draw.root)));
  const entries = Object.values(curves).map(({ label, color, marker }) => make("button", { class: "entry", type: "button", "aria-pressed": String(!hidden.has(label)), onclick: () => {
    if (!hidden.delete(label)) hidden.add(label);
    redraw();
    [...byId("legend").querySelectorAll(".entry")].find((e) => e.textContent === named(label)).focus();
  } }, svg("svg", { class: "swatch", viewBox: "-7 -7 14 14", "aria-hidden": "true" }, mark(marker, 0, 0, { fill: color })), named(label)));
  byId("legend").replaceChildren(...entries, make("p", { class: "hint" }, `■ ${named("always_full")} ▲ ${named("always_coarse")} ▼ ${named("no_vision")}; ` + "solid: VoVNet; dotted: baselines; dashed: random mixing of the fixed policies; dash-dotted: the oracle at every budget; ○ the policy at the slider's λ" + (points.some((p) => p.seeds > 1) ? "; band: one standard deviation over seeds" : "")));
  return draw;
}
