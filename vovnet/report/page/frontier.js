"use strict";
// The interactive frontier: SVG axes, curves, points that tell their numbers.
const COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8c6d31", "#6e6e6e"];
const FIXED = { no_vision: "v", always_coarse: "^", always_full: "s" };

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
  const s = 5;
  if (shape === "s") return svg("rect", { x: cx - s, y: cy - s, width: 2 * s, height: 2 * s, ...attributes });
  if (shape === "^") return svg("path", { d: `M${cx} ${cy - s - 1}L${cx + s + 1} ${cy + s}L${cx - s - 1} ${cy + s}Z`, ...attributes });
  if (shape === "v") return svg("path", { d: `M${cx} ${cy + s + 1}L${cx + s + 1} ${cy - s}L${cx - s - 1} ${cy - s}Z`, ...attributes });
  return svg("circle", { cx, cy, r: s, ...attributes });
}

function describe(p) {
  const rates = p.rates.map(([look, r]) => `${look} ${(100 * r).toFixed(1)} %`).join(", ");
  return `${p.setting}\naccuracy ${p.accuracy.toFixed(4)} (${p.low.toFixed(4)} to ${p.high.toFixed(4)})\ncost ${p.cost.toFixed(4)}\n${rates}`;
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

function showFrontier(study, choose) {
  const points = study.points;
  const names = [...new Set(points.filter((p) => !p.fixed).map((p) => p.curve))];
  const learned = (name) => name.startsWith("VoVNet");  // colours repeat: a learned policy's curve is solid, a baseline's dotted
  const color = (name) => COLORS[names.indexOf(name) % COLORS.length];
  const costs = points.map((p) => p.cost), scores = points.flatMap((p) => [p.low, p.high]);
  const low = Math.max(0, Math.min(...scores) - 0.02), high = Math.min(1.005, Math.max(...scores, ...study.oracle.map((o) => o[1])) + 0.02);
  const draw = axes({ x: [0, Math.max(...costs, 0.1) * 1.04], y: [low, high] }, { x: "average cost (1: a maximal FULL image's tokens)", y: "accuracy" });
  const line = (pairs, attributes) => svg("polyline", { points: pairs.map(([c, q]) => `${draw.x(c)},${draw.y(q)}`).join(" "), fill: "none", ...attributes });
  if (study.mixing.length > 1) draw.root.append(line(study.mixing, { stroke: "#888", "stroke-dasharray": "5 4" }));
  if (study.oracle.length > 1) draw.root.append(line(study.oracle, { stroke: "#888", "stroke-dasharray": "7 3 2 3" }));
  for (const name of names.filter((n) => !hidden.has(n))) {
    const own = points.filter((p) => p.curve === name && !p.fixed);
    draw.root.append(line(own.map((p) => [p.cost, p.accuracy]), { stroke: color(name), "stroke-width": 1.6, ...(learned(name) ? {} : { "stroke-dasharray": "2 3" }) }));
  }
  for (const p of points.filter((p) => p.fixed || !hidden.has(p.curve))) {
    const shade = p.fixed ? "currentColor" : color(p.curve);
    draw.root.append(svg("line", { x1: draw.x(p.cost), x2: draw.x(p.cost), y1: draw.y(p.low), y2: draw.y(p.high), stroke: shade, opacity: 0.5 }));
    const dot = mark(FIXED[p.curve], draw.x(p.cost), draw.y(p.accuracy), { class: "dot", fill: shade, tabindex: 0, role: "button", "aria-label": describe(p).replaceAll("\n", ", ") });
    for (const kind of ["mouseenter", "focus"]) dot.addEventListener(kind, (e) => tip(describe(p), e));
    for (const kind of ["mouseleave", "blur"]) dot.addEventListener(kind, () => tip(""));
    const pick = () => choose(p);
    dot.addEventListener("click", pick);
    dot.addEventListener("keydown", (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); pick(); } });
    draw.root.append(dot);
  }
  draw.root.append(svg("circle", { id: "here", r: 9, fill: "none", stroke: "#D55E00", "stroke-width": 2.5, visibility: "hidden" }));
  byId("plot").replaceChildren(draw.root);
  const entries = names.map((name) => make("button", { class: "entry", type: "button", "aria-pressed": String(!hidden.has(name)), onclick: () => {
    if (!hidden.delete(name)) hidden.add(name);
    showFrontier(study, choose);
    [...byId("legend").querySelectorAll(".entry")].find((e) => e.textContent === name).focus();
  } }, make("span", { class: "swatch", style: learned(name) ? `background:${color(name)}` : `border:3px dotted ${color(name)}` }), name));
  byId("legend").replaceChildren(...entries, make("p", { class: "hint" }, "■ always_full ▲ always_coarse ▼ no_vision; dotted: baselines; dashed: random mixing of these; dash-dotted: the oracle at every budget"));
  return draw;
}
