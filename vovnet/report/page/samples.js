"use strict";
// The sample browser: what each branch saw and said, what each policy chose, and what kind of error that is.
const KINDS = ["right choice", "wasted vision", "missed need", "vision hurts"];
const PAGE = 12;
const HINTS = {
  differing: "First the questions that one of the two answers better, then those at which they look differently.",
  gap: "Value gap: what the policy above expects of its most expensive look, less what it expects of its cheapest.",
  file: "",
};

// Same definition as vovnet/analyses/slices.py.
function errorKind(scores, action) {
  const own = scores[action];
  if (scores.some((s, a) => a < action && s > own)) return 3;
  if (scores.some((s, a) => a > action && s > own)) return 2;
  return scores.some((s, a) => a < action && s === own) ? 1 : 0;
}

class Browser {
  constructor() {
    this.page = 0;
    this.found = [];
    byId("by-error").append(...KINDS.map((k, i) => make("option", { value: i }, k)));
    for (const id of ["chooser", "versus", "order", "by-action", "by-error", "by-category"]) byId(id).onchange = () => this.filter();
    byId("by-text").oninput = () => this.filter();
    byId("previous").onclick = () => this.turn(-1);
    byId("next").onclick = () => this.turn(1);
    document.addEventListener("keydown", (event) => this.key(event));
  }

  open(study, live) {
    this.study = study;
    this.live = live;
    const names = study.choices.map((c, i) => make("option", { value: i }, named(c.label)));
    if (study.policies.length) names.unshift(make("option", { value: "live" }, "the policy at the slider's λ"));
    byId("chooser").replaceChildren(...names);
    byId("versus").replaceChildren(make("option", { value: "" }, "none"), ...study.choices.map((c, i) => make("option", { value: i }, named(c.label))));
    byId("versus").value = String(study.choices.findIndex((c) => c.label === "always_full"));
    if (!byId("versus").value) byId("versus").value = "";
    byId("order").value = "differing";
    byId("by-action").replaceChildren(make("option", { value: "" }, "all"), ...study.looks.map((l, i) => make("option", { value: i }, l)));
    const categories = [...new Set(study.samples.category)].sort();
    byId("by-category").replaceChildren(make("option", { value: "" }, "all"), ...categories.map((c) => make("option", { value: c }, c)));
    this.filter();
  }

  choose(setting) {
    const place = this.study.choices.findIndex((c) => c.label === setting);
    if (place < 0) return;
    byId("chooser").value = String(place);
    this.filter();
    byId("samples").scrollIntoView();
  }

  actions(which) {
    if (which === "live") {
      const { policy, place } = this.live();
      return decide(this.study, policy, lambdaAt(place));
    }
    const choice = which === "" ? null : this.study.choices[Number(which)];
    return choice ? Uint8Array.from(choice.actions) : null;
  }

  // Larger comes first.
  rank(i) {
    const { score } = this.study.samples, own = this.taken[i], other = this.other ? this.other[i] : own;
    if (byId("order").value === "differing") return score[own][i] !== score[other][i] ? 2 : Number(own !== other);
    const live = byId("order").value === "gap" && this.study.policies.length ? this.live() : null;
    return live ? live.policy.values.at(-1)[i] - live.policy.values[0][i] : 0;
  }

  compare() {
    const { score, cost } = this.study.samples;
    let better = 0, worse = 0, saved = 0, differing = 0;
    for (let i = 0; this.taken && this.other && i < this.taken.length; i += 1) {
      const own = this.taken[i], other = this.other[i];
      better += score[own][i] > score[other][i];
      worse += score[own][i] < score[other][i];
      differing += own !== other;
      saved += cost[other][i] - cost[own][i];
    }
    const texts = [HINTS[byId("order").value]];
    if (this.other) texts.unshift(`▶ looks differently at ${differing} of ${this.other.length} questions: better on ${better}, worse on ${worse}, its average cost is ${(Math.abs(saved) / this.other.length).toFixed(4)} ${saved < 0 ? "higher" : "lower"}.`);
    byId("compared").textContent = texts.join(" ");
  }

  slide() {
    if (byId("chooser").value === "live") this.filter(this.page);
  }

  filter(page = 0) {
    const s = this.study.samples, taken = this.actions(byId("chooser").value);
    this.taken = taken;
    this.other = this.actions(byId("versus").value);
    const action = byId("by-action").value, error = byId("by-error").value, category = byId("by-category").value;
    const text = byId("by-text").value.trim().toLowerCase();
    this.found = [];
    for (let i = 0; taken && i < s.id.length; i += 1) {
      if (action !== "" && taken[i] !== Number(action)) continue;
      if (category !== "" && s.category[i] !== category) continue;
      if (error !== "" && errorKind(s.score.map((c) => c[i]), taken[i]) !== Number(error)) continue;
      if (text && !`${s.id[i]} ${s.question[i]} ${s.options[i].join(" ")} ${s.answers[i].join(" ")}`.toLowerCase().includes(text)) continue;
      this.found.push(i);
    }
    const ranks = new Map(this.found.map((i) => [i, this.rank(i)]));
    this.found.sort((a, b) => ranks.get(b) - ranks.get(a) || a - b);
    this.compare();
    this.page = Math.max(0, Math.min(page, Math.ceil(this.found.length / PAGE) - 1));
    this.show();
  }

  turn(by) {
    const last = Math.max(0, Math.ceil(this.found.length / PAGE) - 1);
    this.page = Math.max(0, Math.min(last, this.page + by));
    this.show();
  }

  show() {
    const first = this.page * PAGE, some = this.found.slice(first, first + PAGE);
    byId("count").textContent = this.found.length ? `${first + 1} to ${first + some.length} of ${this.found.length} samples ` : "No sample fits these filters. ";
    byId("previous").disabled = this.page === 0;
    byId("next").disabled = first + PAGE >= this.found.length;
    byId("list").replaceChildren(...some.map((i) => this.card(i)));
  }

  card(i) {
    const s = this.study.samples, taken = this.taken[i];
    const kind = errorKind(s.score.map((c) => c[i]), taken);
    const card = make("li", { tabindex: 0, "data-row": i });
    card.append(make("div", { class: "question" }, s.question[i]));
    if (s.options[i].length) card.append(make("ol", { class: "options", type: "A" }, ...s.options[i].map((o) => make("li", {}, o))));
    card.append(make("div", {}, make("span", { class: "tag" }, `reference: ${s.answers[i].join(" | ")}`),
      make("span", { class: "tag" }, KINDS[kind]), make("span", { class: "tag" }, s.category[i] || "no category")));
    card.append(this.images(i));
    const policies = this.study.policies.filter((p) => p.values.length);
    const live = policies.length ? (this.live() || {}).policy : null;
    const heads = ["", "answer", "score", "cost", ...(live ? ["value"] : [])];
    const rows = this.study.looks.map((label, a) => {
      const column = live ? live.space.indexOf(a) : -1;
      const marks = (a === taken ? "▶" : "") + (this.other && a === this.other[i] ? "▷" : "");
      return make("tr", { class: a === taken ? "took" : "" }, make("td", {}, `${marks} ${label}`), make("td", {}, s.prediction[a][i]),
        make("td", { class: "number" }, shown(s.score[a][i], 2)), make("td", { class: "number" }, shown(s.cost[a][i], 3)),
        ...(live ? [make("td", { class: "number" }, column < 0 ? "" : shown(live.values[column][i], 3))] : []));
    });
    card.append(make("table", {}, make("thead", {}, make("tr", {}, ...heads.map((h) => make("td", {}, h)))), make("tbody", {}, ...rows)));
    const chosen = this.study.choices.map((c) => `${named(c.label)}: ${this.study.looks[c.actions[i]]}`);
    card.append(make("details", {}, make("summary", {}, "what each policy chose"), make("div", { class: "hint" }, ...chosen.map((t) => make("div", {}, t))),
      make("div", { class: "hint" }, `${s.id[i]}; text pass: entropy ${shown(s.entropy[i], 3)} nats, margin ${shown(s.margin[i], 3)}`)));
    return card;
  }

  images(i) {
    const looks = make("div", { class: "looks" });
    for (const place of this.study.samples.images[i]) {
      const image = DATA.images[place];
      if (!image) { looks.append(make("span", { class: "hint" }, "image not in this page (report.image_megabytes)")); continue; }
      for (const look of this.study.looks.map((l) => l.toLowerCase()).filter((l) => `${l}_size` in image)) {
        const [width, height] = image[`${look}_size`];
        looks.append(make("figure", {}, make("img", { src: image[look], class: width > 120 ? "smooth" : "", loading: "lazy", alt: `the image as ${look.toUpperCase()} sees it` }),
          make("figcaption", {}, `${look.toUpperCase()} ${width}×${height}`)));
      }
    }
    return looks;
  }

  key(event) {
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) || event.altKey || event.ctrlKey || event.metaKey) return;
    const inList = byId("list").contains(event.target);
    if (event.key === "ArrowRight" && (inList || event.target === document.body)) this.turn(1);
    else if (event.key === "ArrowLeft" && (inList || event.target === document.body)) this.turn(-1);
    else if (inList && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      const cards = [...byId("list").children], now = cards.indexOf(event.target.closest("#list > li"));
      (cards[now + (event.key === "ArrowDown" ? 1 : -1)] || cards[now]).focus();
      event.preventDefault();
    }
  }
}
