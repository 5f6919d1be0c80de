// The galleries of the report: filters, order, and all that depends on the threshold. Nothing is loaded: CAMs and
// numbers are in the page, and label maps are read back from the colours of its pictures.
"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const IGNORED = 255;
const STEPS = 100;  // thresholds of the sweep, and of a sample's IoU, are 0, 1/100, ... 1
const state = { threshold: Number(document.getElementById("threshold").value) };

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const colours = Object.fromEntries(Object.entries(data.colours).map(([id, hex]) => [id, rgb(hex)]));
const idOf = new Map(Object.entries(colours).map(([id, [r, g, b]]) => [(r << 16) | (g << 8) | b, Number(id)]));
const heat = data.heat.match(/.{6}/g).map((digits) => rgb(`#${digits}`));
const outcomes = Object.fromEntries(Object.entries(data.outcomes).map(
  ([name, { colour, photo_share: share }]) => [name, { colour: rgb(colour), share }]));
const fixed = (value, digits = 1) => (Number.isFinite(value) ? value.toFixed(digits) : "\u2013");

// ---- reading pictures

/** Returns the pixels (RGBA) of an image element or address, at its own size unless another is given. */
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

/** Returns the result of `make`, cached for a card and a key. */
function once(card, key, make) {
  card.cache ??= new Map();
  if (!card.cache.has(key)) card.cache.set(key, make());
  return card.cache.get(key);
}

const photoOf = (card) => once(card, "photo", () => pixels(card.photo, ...card.sample.size));

/** Returns the class ids of the label map with that caption. */
const labelsOf = (card, caption) => once(card, `labels ${caption}`, async () => {
  const coloured = await pixels(card.maps.get(caption));
  const ids = new Uint8Array(coloured.length / 4);
  for (let i = 0; i < ids.length; i++) {
    ids[i] = idOf.get((coloured[4 * i] << 16) | (coloured[4 * i + 1] << 8) | coloured[4 * i + 2]);
  }
  return ids;
});

// ---- CAMs and seeds, as ppl/cam/seeds.py computes them

/** Returns weights of bilinear resizing: for each of `to` samples its two neighbours of `from`, and the second's share. */
function between(from, to) {
  return Array.from({ length: to }, (_, i) => {
    const place = Math.min(Math.max((i + 0.5) * from / to - 0.5, 0), from - 1);
    const low = Math.floor(place);
    return [low, Math.min(low + 1, from - 1), place - low];
  });
}

/** Returns the planes of a CAM at the size of the card's pictures, 0..1, by class id. */
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

/** Returns per pixel the class with the highest score, and that score. */
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

/** Returns the seed: the strongest class where its score exceeds the threshold, else background. */
async function seedOf(card, variant, threshold) {
  const { ids, scores } = await strongestOf(card, variant);
  return ids.map((id, i) => (scores[i] > threshold ? id : 0));
}

// ---- painting

/** Paints a canvas: `colour(i)` is the RGB of pixel i, `photoShare(i)` the share of the grey photo in it. */
async function paint(card, canvas, colour, photoShare) {
  const [width, height] = card.sample.size;
  const photo = await photoOf(card);
  const image = new ImageData(width, height), painted = image.data;
  for (let i = 0, at = 0; i < width * height; i++, at += 4) {
    const grey = (photo[at] + photo[at + 1] + photo[at + 2]) / 3;
    const tone = colour(i), share = photoShare(i);
    for (let channel = 0; channel < 3; channel++) painted[at + channel] = share * grey + (1 - share) * tone[channel];
    painted[at + 3] = 255;
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Returns the class whose CAM a card shows: the selected one if the image has it, else the most extended. */
async function classOfCam(card, variant, selected) {
  const planes = await planesOf(card, variant);
  if (planes.has(selected)) return selected;
  const extent = (id) => planes.get(id).reduce((sum, value) => sum + value, 0);
  const extents = new Map([...planes.keys()].map((id) => [id, extent(id)]));
  return [...planes.keys()].reduce((best, id) => (extents.get(id) > extents.get(best) ? id : best));
}

async function drawCam(card, figure, selected) {
  const { variant } = figure.dataset, canvas = figure.querySelector("canvas");
  const hasCam = card.sample.cams[variant] !== undefined;
  const id = hasCam ? await classOfCam(card, variant, selected) : null;
  const plane = hasCam ? (await planesOf(card, variant)).get(id) : null;
  await paint(card, canvas, (i) => heat[hasCam ? Math.round(255 * plane[i]) : 0], () => (hasCam ? data.photo_share : 1));
  const name = hasCam ? data.names[id] : "no class";
  figure.querySelector("b").textContent = name;
  canvas.setAttribute("aria-label", hasCam ? `heat map of class ${name} over the photo, ${variant}` : "grey photo: no class");
}

async function drawSeed(card, figure, variant, threshold) {
  const canvas = figure.querySelector("canvas"), seed = await seedOf(card, variant, threshold);
  await paint(card, canvas, (i) => colours[seed[i]], () => 0);
  const names = [...new Set(seed)].map((id) => data.names[id]);
  canvas.setAttribute("aria-label", `seed at ${fixed(threshold, 2)}: ${names.join(", ")}`);
}

/** Draws where a label map is right, misses an object, has a false one, or another class than the truth. */
async function drawDifference(card, figure, caption, seed) {
  const canvas = figure.querySelector("canvas");
  const truth = await labelsOf(card, "truth"), labels = seed ?? await labelsOf(card, caption);
  const outcome = (expected, label) => {
    if (expected === IGNORED || (expected === 0 && label === 0)) return "none";
    if (label === IGNORED) return "undecided";
    return expected === label ? "right" : label === 0 ? "missed" : expected === 0 ? "false" : "other";
  };
  const ofPixel = Array.from(truth, (expected, i) => outcomes[outcome(expected, labels[i])]);
  await paint(card, canvas, (i) => ofPixel[i].colour, (i) => ofPixel[i].share);
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
    this.watch = new IntersectionObserver((entries) => this.cross(entries), { rootMargin: "400px" });
    for (const card of this.cards) this.watch.observe(card);
    for (const control of Object.values(this.controls)) control.addEventListener("change", () => this.update(control));
    this.arrange();
  }

  value(name) { return this.controls[name]?.value; }
  get variant() { return this.value("variant"); }
  get judged() { return this.value("judged"); }
  get selectedClass() { return Number(this.value("class")); }  // 0: any

  update(control) {
    if (control.name === "size") this.list.className = `cards ${control.value}`;
    else this.arrange();
    for (const card of this.near) this.draw(card);
  }

  /** Draws the cards that come near the window, and frees the memory of those that leave it. */
  cross(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) {
        this.near.add(target);
        this.draw(target);
      } else {
        this.near.delete(target);
        target.cache = undefined;
        for (const canvas of target.querySelectorAll("canvas")) canvas.width = canvas.height = 1;
      }
    }
  }

  /** Returns the IoU by class id of a card's map at the threshold; empty without truth. */
  ious(card, caption) {
    if (caption !== "seed") return card.sample.iou[caption] ?? {};
    const at = Math.round(STEPS * state.threshold);
    return Object.fromEntries(Object.entries(card.sample.seeds[this.variant] ?? {}).map(([id, row]) => [id, row[at]]));
  }

  /** Returns the IoU of the selected class, or the mean over the classes in the truth; NaN if there is none. */
  score(card, caption) {
    const ious = this.ious(card, caption);
    if (this.selectedClass) return ious[this.selectedClass] ?? NaN;
    const values = Object.values(ious);
    return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : NaN;
  }

  /** Filters and sorts the cards. */
  arrange() {
    const scores = new Map(this.cards.map((card) => [card, this.score(card, this.judged)]));
    const sign = { worst: 1, best: -1 }[this.value("order")];
    const rank = (card) => (Number.isNaN(scores.get(card)) ? Infinity : sign * scores.get(card));
    const sorted = [...this.cards].sort((a, b) => (sign && rank(a) !== rank(b) ? rank(a) - rank(b) : a.place - b.place));
    let visible = 0;
    for (const card of sorted) {
      card.hidden = this.selectedClass !== 0 && !card.sample.classes.includes(this.selectedClass);
      visible += !card.hidden;
    }
    this.list.append(...sorted);
    this.caption();
    this.status.textContent = `${visible} of ${this.cards.length} images shown.`;
  }

  /** Writes IoU and threshold into the captions. */
  caption() {
    for (const card of this.cards) {
      for (const element of card.querySelectorAll("[data-iou]")) {
        element.textContent = fixed(this.score(card, element.dataset.iou));
      }
      for (const element of card.querySelectorAll("[data-threshold]")) element.textContent = fixed(state.threshold, 2);
    }
  }

  /** Draws all canvases of a card; a later call cancels an earlier one that has not reached the seed. */
  async draw(card) {
    const turn = card.turn = (card.turn ?? 0) + 1;
    for (const figure of card.querySelectorAll(".cam-figure")) await drawCam(card, figure, this.selectedClass);
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
  for (const gallery of galleries.filter((each) => each.variant)) {
    gallery.caption();
    for (const card of gallery.near) gallery.drawSeed(card);
  }
}

let frame = 0;
function setThreshold(value) {
  state.threshold = Number(value);
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(showThreshold);
}

for (const slider of sliders) {
  slider.addEventListener("input", () => setThreshold(slider.value));
  slider.addEventListener("change", () => {  // the order of cards is kept while the slider moves
    for (const gallery of galleries.filter((each) => each.judged === "seed")) gallery.arrange();
  });
}
for (const button of document.querySelectorAll("button[data-to]")) {
  button.addEventListener("click", () => setThreshold(button.dataset.to));
}
showThreshold();
document.documentElement.dataset.ready = "true";
})();
