"use strict";
// A map of latents: a point each, beside those that fire alike, or by how often it fires and how well it tells a label.

const MOST_COLOURS = 7;

/**
 * @param {any} row of run.dictionaries
 * @param {any} table the shard "table"
 * @returns {{root: HTMLElement, highlight: (order: Uint32Array) => void}}
 */
function latentMap(row, table) {
  const alive = [...table.latent.keys()].filter((i) => table.alive[i]);
  const placed = alive.some((i) => table.x[i] !== null);
  const groups = colourGroups(table, alive);
  const shown = new Uint8Array(table.latent.length).fill(1);
  let kind = placed ? "together" : "frequency";
  /** @type {Float32Array} x and y of each latent in CSS pixels, NaN where it is not shown */
  let places = new Float32Array();

  const canvas = h("canvas", { role: "img" });
  const tip = h("div", { class: "tip", hidden: true, "aria-hidden": "true" });
  const axes = h("div", { class: "axes", "aria-hidden": "true" });
  const note = h("p", { class: "quiet note" });
  const plot = h("div", { class: "plot" }, canvas, axes, tip);
  const kinds = placed ? [["together", "Who fires together"], ["frequency", "How often, and how well"]] : [];
  const buttons = kinds.map(([name, label]) => h("button", { type: "button", "aria-pressed": "false", click: () => ((kind = name), draw()) }, label));
  buttons.forEach((button, at) => (button.dataset.kind = kinds[at][0]));
  const legend = h("ul", { class: "legend" }, ...groups.names.map((name, at) => h("li", {}, swatch(`--c${at}`), name)),
    groups.others ? h("li", {}, swatch("--other"), "other names") : null, h("li", {}, swatch("--unclear"), "no clear name"));

  function draw() {
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.kind === kind)));
    const { context, width, height } = sharp(canvas);
    places = kind === "together" ? placesTogether(table, width, height) : placesByFrequency(table, width, height);
    axes.replaceChildren(...(kind === "together" ? [] : axisTexts(table, width, height)));
    note.textContent = kind === "together"
      ? "Latents that fire in the same clips lie close (t-SNE); distances between far groups mean nothing."
      : "Across: the share of rows in which it fires, each step ten times more. Up: the AUC of its best label; 0.5 is chance.";
    canvas.setAttribute("aria-label", `Map of ${count(alive.length, "latent")}; the table below holds the same. ${note.textContent}`);
    const colours = [...groups.names.map((_, at) => colour(`--c${at}`)), colour("--other"), colour("--unclear")];
    const small = alive.length > 5000 ? 0.6 : 1;
    const drawnLast = [...alive].sort((a, b) => groups.of[b] - groups.of[a]);
    for (const pass of [0, 1]) {
      for (const i of drawnLast) {
        if (shown[i] !== pass || Number.isNaN(places[2 * i])) continue;
        context.globalAlpha = pass ? 0.85 : 0.13;
        context.fillStyle = colours[groups.of[i]];
        context.beginPath();
        context.arc(places[2 * i], places[2 * i + 1], small * (2.2 + 2.6 * (table.support[i] ?? 0)), 0, 7);
        context.fill();
      }
    }
  }

  /** @param {MouseEvent} event */
  function nearest(event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let best = -1;
    let least = 18 ** 2;
    for (const i of alive) {
      const distance = (places[2 * i] - x) ** 2 + (places[2 * i + 1] - y) ** 2;
      if (shown[i] && distance < least) [best, least] = [i, distance];
    }
    return best;
  }

  plot.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    const i = nearest(event);
    tip.hidden = i < 0;
    canvas.classList.toggle("pointing", i >= 0);
    if (i < 0) return;
    tip.replaceChildren(h("b", {}, `${table.latent[i]} · ${table.name.names[table.name.codes[i]]}`),
      h("span", {}, `support ${fixed(table.support[i])} · fires ${percent(table.frequency[i])}`));
    const width = plot.clientWidth;
    const left = places[2 * i];
    tip.style.left = left > width / 2 ? "auto" : `${left + 12}px`;
    tip.style.right = left > width / 2 ? `${width - left + 12}px` : "auto";
    tip.style.top = `${Math.max(4, places[2 * i + 1] - 30)}px`;
  });
  plot.addEventListener("pointerleave", () => (tip.hidden = true));
  plot.addEventListener("click", (/** @type {MouseEvent} */ event) => {
    const i = nearest(event);
    if (i >= 0) location.hash = address(row, "latent", table.latent[i]);
  });

  const root = h("section", { class: "card map", "aria-labelledby": "map-title" },
    h("div", { class: "tools" }, h("h2", { id: "map-title" }, "Map"), h("span", { class: "grow" }),
      buttons.length ? h("div", { class: "segments", role: "group", "aria-label": "What the map shows" }, ...buttons) : null),
    plot, legend, note);
  keepDrawn(canvas, draw);
  return {
    root,
    highlight(order) {
      shown.fill(0);
      order.forEach((i) => (shown[i] = 1));
      if (canvas.isConnected) requestAnimationFrame(draw);
    },
  };
}

/** @param {string} name of a custom property */
function swatch(name) {
  const element = h("span", { class: "swatch", "aria-hidden": "true" });
  element.style.background = `var(${name})`;
  return element;
}

/**
 * Which colour each latent has: its name's, where that is clear and one of the most frequent.
 * @param {any} table
 * @param {number[]} alive
 * @returns {{names: string[], of: Uint8Array, others: boolean}}
 */
function colourGroups(table, alive) {
  const sizes = new Map();
  for (const i of alive) {
    if (table.support[i] >= CLEAR) sizes.set(table.name.codes[i], (sizes.get(table.name.codes[i]) ?? 0) + 1);
  }
  const most = [...sizes].sort((a, b) => b[1] - a[1]).slice(0, MOST_COLOURS).map(([code]) => code);
  const of = new Uint8Array(table.latent.length).fill(most.length + 1);
  let others = false;
  for (const i of alive) {
    if (!(table.support[i] >= CLEAR)) continue;
    const at = most.indexOf(table.name.codes[i]);
    of[i] = at < 0 ? most.length : at;
    others ||= at < 0;
  }
  return { names: most.map((code) => table.name.names[code]), of, others };
}

/** @param {any} table @param {number} width @param {number} height */
function placesTogether(table, width, height) {
  const places = new Float32Array(2 * table.latent.length).fill(NaN);
  const [x, y] = [width / 2 - 14, height / 2 - 14];
  table.x.forEach((/** @type {number|null} */ at, /** @type {number} */ i) => {
    if (at === null) return;
    places[2 * i] = width / 2 + at * x;
    places[2 * i + 1] = height / 2 - table.y[i] * y;
  });
  return places;
}

const EDGE = { left: 44, right: 16, top: 14, bottom: 30 };

/** @param {any} table */
function ranges(table) {
  let [rare, low] = [1, 0.5];
  for (let i = 0; i < table.latent.length; i++) {
    if (table.frequency[i]) rare = Math.min(rare, table.frequency[i]);
    if (table.auc[i] !== null) low = Math.min(low, table.auc[i]);
  }
  return { decades: Math.max(1, Math.ceil(-Math.log10(rare))), low };
}

/** @param {any} table @param {number} width @param {number} height */
function placesByFrequency(table, width, height) {
  const { decades, low } = ranges(table);
  const places = new Float32Array(2 * table.latent.length).fill(NaN);
  for (let i = 0; i < table.latent.length; i++) {
    if (!table.frequency[i] || table.auc[i] === null) continue;
    places[2 * i] = EDGE.left + (1 + Math.log10(table.frequency[i]) / decades) * (width - EDGE.left - EDGE.right);
    places[2 * i + 1] = height - EDGE.bottom - ((table.auc[i] - low) / (1 - low)) * (height - EDGE.top - EDGE.bottom);
  }
  return places;
}

/** @param {any} table @param {number} width @param {number} height */
function axisTexts(table, width, height) {
  const { decades, low } = ranges(table);
  const texts = [];
  for (let decade = 0; decade <= decades; decade++) {
    const text = h("span", { class: "across" }, percent(10 ** (decade - decades)));
    text.style.left = `${EDGE.left + (decade / decades) * (width - EDGE.left - EDGE.right)}px`;
    texts.push(text);
  }
  for (const auc of [0.25, 0.5, 0.75, 1].filter((value) => value >= low)) {
    const text = h("span", { class: "up" }, fixed(auc));
    text.style.top = `${height - EDGE.bottom - ((auc - low) / (1 - low)) * (height - EDGE.top - EDGE.bottom)}px`;
    texts.push(text);
  }
  return texts;
}
