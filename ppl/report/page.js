// The galleries of the report: filters, order, and everything that depends on the threshold. Nothing is loaded: CAMs
// and numbers are in the page, label maps are read back from its pictures by their colours.
"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
// Colours of a difference, and how much of the grey photo shows through them.
const OUTCOMES = {
  right: { colour: [0, 158, 115], through: 0.35 },
  missed: { colour: [0, 114, 178], through: 0.35 },
  false: { colour: [213, 94, 0], through: 0.35 },
  other: { colour: [204, 121, 167], through: 0.35 },
  undecided: { colour: [0, 0, 0], through: 0.5 },
  none: { colour: [0, 0, 0], through: 1 },
};
const IGNORED = 255;
const PHOTO_TONE = 0.4;  // how much of it shows through heat
const STEPS = 100;  // thresholds of the sweep, and of a sample's IoU, are 0, 1/100, ... 1
const state = { threshold: Number(document.getElementById("threshold").value) };

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const colours = Object.fromEntries(Object.entries(data.colours).map(([id, hex]) => [id, rgb(hex)]));
const idOf = new Map(Object.entries(colours).map(([id, [r, g, b]]) => [(r << 16) | (g << 8) | b, Number(id)]));
const heat = data.heat.match(/.{6}/g).map((digits) => rgb(`#${digits}`));
const fixed = (value, digits = 1) => (Number.isFinite(value) ? value.toFixed(digits) : "\u2013");

// ---- reading pictures

/** Pixels (RGBA) of an image element or address, at a width and height; its own where none are given. */
async function pixels(source, width, height) {
  let image = source;
  if (typeof source === "string") {
    image = new Image();
    image.src = source;
  }
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = width ?? image.naturalWidth;
  canvas.height = height ?? image.naturalHeight;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height).data;
}

/** What `make` gives, made once for a card and a key. */
function once(card, key, make) {
  card.cache ??= new Map();
  if (!card.cache.has(key)) card.cache.set(key, make());
  return card.cache.get(key);
}

const photoOf = (card) => once(card, "photo", () => pixels(card.photo, ...card.sample.size));

/** Class ids of the label map with that caption. */
const labelsOf = (card, caption) => once(card, `labels ${caption}`, async () => {
  const coloured = await pixels(card.maps.get(caption));
  const ids = new Uint8Array(coloured.length / 4);
  for (let i = 0; i < ids.length; i++) {
    ids[i] = idOf.get((coloured[4 * i] << 16) | (coloured[4 * i + 1] << 8) | coloured[4 * i + 2]);
  }
  return ids;
});

// ---- CAMs and seeds, as ppl/cam/store.py computes them

/** Weights of bilinear resizing from `from` to `to` samples: for each the two it lies between, and the share of the second. */
function between(from, to) {
  return Array.from({ length: to }, (_, i) => {
    const place = Math.min(Math.max((i + 0.5) * from / to - 0.5, 0), from - 1);
    const low = Math.floor(place);
    return [low, Math.min(low + 1, from - 1), place - low];
  });
}

/** The planes of a CAM at the size of the card's pictures, 0..1, by class id. */
const planesOf = (card, variant) => once(card, `planes ${variant}`, async () => {
  const { uri, classes, grid: [h, w] } = card.sample.cams[variant];
  const [width, height] = card.sample.size;
  const grey = await pixels(uri);
  const across = between(w, width), down = between(h, height);
  return new Map(classes.map((id, plane) => {
    const start = plane * h * w;
    const at = (y, x) => grey[4 * (start + y * w + x)];
    const resized = new Float32Array(width * height);
    for (let y = 0, i = 0; y < height; y++) {
      const [top, bottom, below] = down[y];
      for (let x = 0; x < width; x++, i++) {
        const [left, right, share] = across[x];
        const upper = at(top, left) * (1 - share) + at(top, right) * share;
        const lower = at(bottom, left) * (1 - share) + at(bottom, right) * share;
        resized[i] = (upper * (1 - below) + lower * below) / 255;
      }
    }
    return [id, resized];
  }));
});

/** Per pixel the class with the highest score, and that score. */
const strongestOf = (card, variant) => once(card, `strongest ${variant}`, async () => {
  const [width, height] = card.sample.size;
  const ids = new Uint8Array(width * height), scores = new Float32Array(width * height).fill(-1);
  for (const [id, plane] of card.sample.cams[variant] ? await planesOf(card, variant) : []) {
    for (let i = 0; i < plane.length; i++) {
      if (plane[i] > scores[i]) {
        ids[i] = id;
        scores[i] = plane[i];
      }
    }
  }
  return { ids, scores };
});

/** The seed: the strongest class where it exceeds the threshold, else background. */
async function seedOf(card, variant, threshold) {
  const { ids, scores } = await strongestOf(card, variant);
  return ids.map((id, i) => (scores[i] > threshold ? id : 0));
}

// ---- painting

/** Paints a canvas: `colour(i)` gives RGB of pixel i, `through(i)` how much of the grey photo shows through it. */
async function paint(card, canvas, colour, through) {
  const [width, height] = card.sample.size;
  const photo = await photoOf(card);
  const image = new ImageData(width, height), painted = image.data;
  for (let i = 0, at = 0; i < width * height; i++, at += 4) {
    const grey = (photo[at] + photo[at + 1] + photo[at + 2]) / 3;
    const tone = colour(i), share = through(i);
    for (let channel = 0; channel < 3; channel++) painted[at + channel] = share * grey + (1 - share) * tone[channel];
    painted[at + 3] = 255;
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** The class whose CAM a card shows: the one filtered by where the image has it, else the most extended. */
async function shownClass(card, variant, wanted) {
  const planes = await planesOf(card, variant);
  if (planes.has(wanted)) return wanted;
  const extent = (id) => planes.get(id).reduce((sum, value) => sum + value, 0);
  const extents = new Map([...planes.keys()].map((id) => [id, extent(id)]));
  return [...planes.keys()].reduce((best, id) => (extents.get(id) > extents.get(best) ? id : best));
}

async function drawCam(card, figure, wanted) {
  const { variant } = figure.dataset, canvas = figure.querySelector("canvas");
  const known = card.sample.cams[variant] !== undefined;
  const id = known ? await shownClass(card, variant, wanted) : null;
  const plane = known ? (await planesOf(card, variant)).get(id) : null;
  await paint(card, canvas, (i) => heat[known ? Math.round(255 * plane[i]) : 0], () => (known ? PHOTO_TONE : 1));
  const name = known ? data.names[id] : "no class";
  figure.querySelector("b").textContent = name;
  canvas.setAttribute("aria-label", known ? `heat map of class ${name} over the photo, ${variant}` : "grey photo: no class");
}

async function drawSeed(card, figure, variant, threshold) {
  const canvas = figure.querySelector("canvas"), seed = await seedOf(card, variant, threshold);
  await paint(card, canvas, (i) => colours[seed[i]], () => 0);
  const shown = [...new Set(seed)].map((id) => data.names[id]);
  canvas.setAttribute("aria-label", `seed at ${fixed(threshold, 2)}: ${shown.join(", ")}`);
}

/** Where a label map agrees with the truth, misses an object, invents one, or takes it for another class. */
async function drawDifference(card, figure, caption, seed) {
  const canvas = figure.querySelector("canvas");
  const truth = await labelsOf(card, "truth"), labels = seed ?? await labelsOf(card, caption);
  const outcome = (is, said) => {
    if (is === IGNORED || (is === 0 && said === 0)) return "none";
    if (said === IGNORED) return "undecided";
    return is === said ? "right" : said === 0 ? "missed" : is === 0 ? "false" : "other";
  };
  const outcomes = Array.from(truth, (is, i) => OUTCOMES[outcome(is, labels[i])]);
  await paint(card, canvas, (i) => outcomes[i].colour, (i) => outcomes[i].through);
  figure.querySelector("b").textContent = caption;
  canvas.setAttribute("aria-label", `difference of ${caption} and truth`);
}

// ---- galleries

class Gallery {
  constructor(section, samples) {
    this.section = section;
    this.list = section.querySelector(".cards");
    this.status = section.querySelector(".status");
    this.controls = Object.fromEntries([...section.querySelectorAll("select")].map((s) => [s.name, s]));
    this.cards = [...section.querySelectorAll(".card")].map((element, i) => Object.assign(element, {
      sample: samples[i],
      place: i,
      photo: element.querySelector(".photo img"),
      maps: new Map([...element.querySelectorAll(".map")].map((image) => [image.dataset.caption, image])),
    }));
    this.near = new Set();
    this.watch = new IntersectionObserver((entries) => this.seen(entries), { rootMargin: "400px" });
    for (const card of this.cards) this.watch.observe(card);
    for (const control of Object.values(this.controls)) control.addEventListener("change", () => this.changed(control));
    this.arrange();
  }

  value(name) { return this.controls[name]?.value; }
  get variant() { return this.value("variant"); }
  get judged() { return this.value("judged"); }
  get wanted() { return Number(this.value("class")); }  // 0: any

  changed(control) {
    if (control.name === "size") this.list.className = `cards ${control.value}`;
    else this.arrange();
    for (const card of this.near) this.draw(card);
  }

  seen(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) {
        this.near.add(target);
        this.draw(target);
      } else {
        this.near.delete(target);
        target.cache = undefined;  // what a long page has shown need not stay in memory
        for (const canvas of target.querySelectorAll("canvas")) canvas.width = canvas.height = 1;
      }
    }
  }

  /** IoU by class id of a card's map at the threshold; empty without a truth. */
  ious(card, caption) {
    if (caption !== "seed") return card.sample.iou[caption] ?? {};
    const at = Math.round(STEPS * state.threshold);
    return Object.fromEntries(Object.entries(card.sample.seeds[this.variant] ?? {}).map(([id, row]) => [id, row[at]]));
  }

  /** Of the class filtered by, or the mean over the classes of the image's truth; NaN where that shows none. */
  score(card, caption) {
    const ious = this.ious(card, caption);
    if (this.wanted) return ious[this.wanted] ?? NaN;
    const values = Object.values(ious);
    return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : NaN;
  }

  /** Filters and sorts the cards. */
  arrange() {
    const scores = new Map(this.cards.map((card) => [card, this.score(card, this.judged)]));
    const sign = { worst: 1, best: -1 }[this.value("order")];
    const rank = (card) => (Number.isNaN(scores.get(card)) ? Infinity : sign * scores.get(card));
    const sorted = [...this.cards].sort((a, b) => (sign && rank(a) !== rank(b) ? rank(a) - rank(b) : a.place - b.place));
    let shown = 0;
    for (const card of sorted) {
      card.hidden = this.wanted !== 0 && !card.sample.classes.includes(this.wanted);
      shown += !card.hidden;
    }
    this.list.append(...sorted);
    this.caption();
    this.status.textContent = `${shown} of ${this.cards.length} images shown.`;
  }

  /** Writes IoUs into the captions. */
  caption() {
    for (const card of this.cards) {
      for (const element of card.querySelectorAll("[data-iou]")) {
        element.textContent = fixed(this.score(card, element.dataset.iou));
      }
      for (const element of card.querySelectorAll("[data-threshold]")) element.textContent = fixed(state.threshold, 2);
    }
  }

  /** Draws all canvases of a card, unless another drawing of it has begun meanwhile. */
  async draw(card) {
    const turn = card.turn = (card.turn ?? 0) + 1;
    for (const figure of card.querySelectorAll(".cam-figure")) await drawCam(card, figure, this.wanted);
    if (turn === card.turn) await this.drawSeed(card);
  }

  async drawSeed(card) {
    const { threshold } = state, { variant, judged } = this;
    const figure = card.querySelector(".seed-figure"), difference = card.querySelector(".difference-figure");
    if (figure) await drawSeed(card, figure, variant, threshold);
    const seed = judged === "seed" ? await seedOf(card, variant, threshold) : null;
    if (difference) await drawDifference(card, difference, judged, seed);
    card.dataset.drawn = `${variant ?? ""} ${fixed(threshold, 2)} ${judged ?? ""}`;
  }
}

const sections = [...document.querySelectorAll(".gallery")];
const galleries = sections.map((section, i) => new Gallery(section, data.samples[i]));

// ---- the threshold

const sliders = [...document.querySelectorAll("input.slider")];
const rowAt = (sweep) => sweep.threshold.reduce(
  (best, value, i) => (Math.abs(value - state.threshold) < Math.abs(sweep.threshold[best] - state.threshold) ? i : best), 0);
const svg = document.querySelector("#curves-figure svg");
const dots = svg ? data.markers.map((marker) => {
  const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  for (const [name, value] of Object.entries({ r: 6, fill: marker.colour, stroke: "var(--text)", "stroke-width": 1.5 })) {
    dot.setAttribute(name, value);
  }
  dot.classList.add("marker");
  dot.dataset.variant = marker.variant;
  svg.append(dot);
  return dot;
}) : [];

function showThreshold() {
  for (const slider of sliders) {
    slider.value = state.threshold;
    slider.setAttribute("aria-valuetext", `threshold ${fixed(state.threshold, 2)}`);
  }
  for (const output of document.querySelectorAll(".at")) output.textContent = fixed(state.threshold, 2);
  for (const [i, dot] of dots.entries()) {
    const marker = data.markers[i], row = rowAt(data.sweeps[marker.variant]);
    dot.setAttribute("cx", marker.x[row]);
    dot.setAttribute("cy", marker.y[row]);
  }
  for (const line of document.querySelectorAll("tr[data-sweep]")) {
    const sweep = data.sweeps[line.dataset.sweep], row = rowAt(sweep);
    for (const cell of line.querySelectorAll("td[data-column]")) cell.textContent = fixed(sweep[cell.dataset.column][row]);
  }
  for (const gallery of galleries.filter((found) => found.variant)) {
    gallery.caption();
    for (const card of gallery.near) gallery.drawSeed(card);
  }
}

let asked = 0;
function setThreshold(value) {
  state.threshold = Number(value);
  cancelAnimationFrame(asked);
  asked = requestAnimationFrame(showThreshold);
}

for (const slider of sliders) {
  slider.addEventListener("input", () => setThreshold(slider.value));
  slider.addEventListener("change", () => {  // cards keep their places while the slider moves
    for (const gallery of galleries.filter((found) => found.judged === "seed")) gallery.arrange();
  });
}
for (const button of document.querySelectorAll("button[data-to]")) {
  button.addEventListener("click", () => setThreshold(button.dataset.to));
}
showThreshold();
document.documentElement.dataset.ready = "true";
})();
