"use strict";
// The table of latents: searched, filtered and sorted as columns of numbers; only rows in sight are elements.

/**
 * @typedef {Object} View what the table shows; it stands in the page's address
 * @property {string} q words that must all occur
 * @property {string} sort a column, with "-" before it for the largest first
 * @property {string} label "" or one label value
 * @property {boolean} clear only latents whose name is held by evidence
 * @property {boolean} dead also those that never fire
 */

/** @type {View} */
const FIRST_VIEW = { q: "", sort: "-support", label: "", clear: false, dead: false };
const ROW = 44; // px, as in the style sheet
const CLEAR = 0.5;

/** @typedef {{key: string, title: string, hint: string, value: (t: any, i: number) => number|null}} Column */

/** @type {Column[]} */
const COLUMNS = [
  { key: "latent", title: "Latent", hint: "its number in the dictionary", value: (t, i) => t.latent[i] },
  { key: "name", title: "Name", hint: "made of the evidence beside it", value: () => null },
  { key: "support", title: "Support", hint: "how well the name is supported, 0 to 1: by groups that it was not made from, where they can judge it, else by those it was made from", value: (t, i) => t.support[i] },
  { key: "held", title: "New groups", hint: "how well the name tells where it fires in groups that it was not made from (AUC); beside it, what the name of another latent does", value: (t, i) => t.held_out?.[i] ?? null },
  { key: "frequency", title: "Fires", hint: "in this share of rows", value: (t, i) => t.frequency[i] },
  { key: "auc", title: "Best label", hint: "and how well the latent tells it from the others (AUC; 0.5 is chance)", value: (t, i) => t.auc[i] },
  { key: "rho", title: "Best factor", hint: "and its rank correlation beyond the label", value: (t, i) => (t.rho[i] === null ? null : Math.abs(t.rho[i])) },
  { key: "recurrence", title: "Recurs", hint: "best cosine with a latent of another seed", value: (t, i) => t.recurrence[i] },
];

/**
 * The rows that a view lets through, in its order.
 * @param {any} table the shard "table"
 * @param {View} view
 * @returns {Uint32Array} places in the table
 */
function orderOf(table, view) {
  const passes = matcher(table, view.q);
  const label = table.label.names.indexOf(view.label);
  const kept = [];
  for (let i = 0; i < table.latent.length; i++) {
    if (!view.dead && !table.alive[i]) continue;
    if (view.clear && !(table.support[i] >= CLEAR)) continue;
    if (view.label && table.label.codes[i] !== label) continue;
    if (passes(i)) kept.push(i);
  }
  const order = Uint32Array.from(kept);
  const down = view.sort.startsWith("-");
  const keys = sortKeys(table, view.sort.replace("-", ""), down);
  return order.sort((a, b) => keys[a] - keys[b] || support(table, b) - support(table, a) || a - b);
}

/**
 * What decides between equals: how well the name holds for groups that were not heard when it was made, else here.
 * @param {any} table
 * @param {number} i
 */
function support(table, i) {
  return table.held_out?.[i] ?? (table.auc[i] ?? 0) - 1;
}

/**
 * Numbers that sort a column upwards; what is missing comes last either way.
 * @param {any} table
 * @param {string} key
 * @param {boolean} down
 */
function sortKeys(table, key, down) {
  const keys = new Float64Array(table.latent.length);
  let ranks = /** @type {number[]|null} */ (null);
  if (key === "name") {
    ranks = new Array(table.name.names.length);
    const byName = table.name.names.map((/** @type {string} */ _, /** @type {number} */ at) => at);
    const { compare } = new Intl.Collator("en", { numeric: true });
    byName.sort((/** @type {number} */ a, /** @type {number} */ b) => compare(table.name.names[a], table.name.names[b]));
    byName.forEach((/** @type {number} */ name, /** @type {number} */ rank) => (/** @type {number[]} */ (ranks)[name] = rank));
  }
  const column = COLUMNS.find((known) => known.key === key) ?? COLUMNS[0];
  for (let i = 0; i < keys.length; i++) {
    const value = ranks ? ranks[table.name.codes[i]] : column.value(table, i);
    keys[i] = value === null || value === undefined ? Infinity : down ? -value : value;
  }
  return keys;
}

/**
 * @param {any} table
 * @param {string} query
 * @returns {(i: number) => boolean} whether a row holds every word
 */
function matcher(table, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const tests = words.map((word) => {
    const limit = limitOf(table, word);
    if (limit) return limit;
    const hits = [table.name, table.label, table.factor].map((coded) => ({
      codes: coded.codes,
      hit: coded.names.map((/** @type {string} */ name) => name.toLowerCase().includes(word)),
    }));
    const number = /^\d+$/.test(word) ? Number(word) : -1;
    return (/** @type {number} */ i) => table.latent[i] === number || hits.some(({ codes, hit }) => hit[codes[i]]);
  });
  return (i) => tests.every((test) => test(i));
}

/**
 * A word such as recurs>0.9 or fires<1%.
 * @param {any} table
 * @param {string} word
 * @returns {((i: number) => boolean)|null} null for any other word
 */
function limitOf(table, word) {
  const [, name, side, number, percent] = /^(support|fires|auc|rho|recurs)([<>])(\d*\.?\d+)(%?)$/.exec(word) ?? [];
  if (!name) return null;
  const key = { fires: "frequency", recurs: "recurrence" }[name] ?? name;
  const column = /** @type {Column} */ (COLUMNS.find((known) => known.key === key));
  const limit = Number(number) / (percent ? 100 : 1);
  return (i) => {
    const value = column.value(table, i) ?? NaN;
    return side === "<" ? value < limit : value > limit;
  };
}

/**
 * The table with its search and filters.
 * @param {any} row of run.dictionaries
 * @param {any} table the shard "table"
 * @param {View} view changed in place
 * @param {(order: Uint32Array) => void} changed after each change
 * @returns {HTMLElement}
 */
function latentTable(row, table, view, changed) {
  const columns = COLUMNS.filter((column) => column.key !== "held" || table.held_out);
  let order = orderOf(table, view);
  let active = 0;
  const found = h("p", { class: "found quiet", role: "status" });
  const body = h("div", { class: "rows", role: "rowgroup" });
  const grid = h("div", { class: `grid${table.held_out ? " judged" : ""}`, role: "grid", tabindex: "0", "aria-label": "Latents", "aria-rowcount": "0" });
  const heads = columns.map((column) =>
    h("div", { class: `cell ${column.key}`, role: "columnheader", title: column.hint },
      h("button", { type: "button", tabindex: "-1", click: () => sortBy(column.key) }, column.title)));
  grid.append(h("div", { class: "head", role: "rowgroup" }, h("div", { class: "line", role: "row", "aria-rowindex": "1" }, ...heads)), body);

  const sortSelect = h("select", { change: () => change({ sort: sortSelect.value }) });
  for (const column of columns) {
    for (const down of [true, false]) sortSelect.append(h("option", { value: (down ? "-" : "") + column.key }, `${column.title}, ${down ? "down" : "up"}`));
  }

  /** @param {Partial<View>} part */
  function change(part) {
    Object.assign(view, part);
    order = orderOf(table, view);
    active = 0;
    grid.scrollTop = 0;
    refresh();
    changed(order);
  }

  /** @param {string} key */
  function sortBy(key) {
    const first = key === "latent" || key === "name" ? key : `-${key}`;
    const other = first.startsWith("-") ? key : `-${key}`;
    change({ sort: view.sort === first ? other : first });
  }

  function refresh() {
    const total = table.latent.length;
    found.textContent = order.length === total ? count(total, "latent") : `${order.length.toLocaleString("en")} of ${count(total, "latent")}`;
    grid.setAttribute("aria-rowcount", String(order.length + 1));
    body.style.height = `${order.length * ROW}px`;
    columns.forEach((column, at) => {
      const sorted = view.sort.replace("-", "") === column.key;
      if (sorted) heads[at].setAttribute("aria-sort", view.sort.startsWith("-") ? "descending" : "ascending");
      else heads[at].removeAttribute("aria-sort");
    });
    sortSelect.value = view.sort;
    show();
  }

  /** Make elements of the rows in sight, and of a few more. */
  function show() {
    const first = Math.max(0, Math.floor(grid.scrollTop / ROW) - 6);
    const last = Math.min(order.length, Math.ceil((grid.scrollTop + (grid.clientHeight || 640)) / ROW) + 6);
    const lines = [];
    for (let at = first; at < last; at++) lines.push(line(row, table, columns, order[at], at, at === active));
    body.replaceChildren(...(order.length ? lines : [h("p", { class: "quiet none" }, "No latent is left. Search for less, or take a filter off.")]));
    grid.setAttribute("aria-activedescendant", order.length ? `row-${active}` : "");
  }

  grid.addEventListener("scroll", show, { passive: true });
  grid.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const page = Math.max(1, Math.floor(grid.clientHeight / ROW) - 2);
    const steps = /** @type {Object<string, number>} */ ({ ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity });
    if (event.target !== grid) return;
    if (event.key in steps) {
      active = Math.max(0, Math.min(order.length - 1, active + steps[event.key]));
      const top = active * ROW;
      const room = grid.clientHeight - ROW;
      if (top < grid.scrollTop) grid.scrollTop = top;
      else if (top + ROW > grid.scrollTop + room) grid.scrollTop = top + ROW - room;
      event.preventDefault();
      show();
    } else if (event.key === "Enter" && order.length) {
      location.hash = address(row, "latent", table.latent[order[active]]);
    }
  });

  const search = h("input", { type: "search", id: "search", placeholder: "Search names, labels, factors, numbers", "aria-label": "Search latents", autocomplete: "off", spellcheck: "false" });
  search.value = view.q;
  search.addEventListener("input", () => change({ q: search.value }));
  const labels = h("select", { "aria-label": "Best label", change: () => change({ label: labels.value }) }, h("option", { value: "" }, "Any best label"));
  for (const name of [...table.label.names].filter(Boolean).sort(new Intl.Collator("en", { numeric: true }).compare)) labels.append(h("option", { value: name }, name));
  labels.value = view.label;
  const clear = h("input", { type: "checkbox", change: () => change({ clear: clear.checked }) });
  const dead = h("input", { type: "checkbox", change: () => change({ dead: dead.checked }) });
  clear.checked = view.clear;
  dead.checked = view.dead;
  refresh();
  requestAnimationFrame(show);
  return h("section", { class: "card latents", "aria-labelledby": "latents-title" },
    h("div", { class: "tools" },
      h("h2", { id: "latents-title" }, "Latents"), found,
      h("span", { class: "grow" }), search, labels,
      h("label", { class: "narrow-only" }, h("span", { class: "quiet" }, "Sort "), sortSelect),
      h("label", { class: "check" }, clear, "Clear names only"),
      h("label", { class: "check" }, dead, "Dead too"),
    ),
    grid,
  );
}

/**
 * One row.
 * @param {any} row of run.dictionaries
 * @param {any} t the table
 * @param {Column[]} columns
 * @param {number} i place in it
 * @param {number} at place in the order
 * @param {boolean} active
 */
function line(row, t, columns, i, at, active) {
  const clear = t.support[i] >= CLEAR;
  const label = t.label.names[t.label.codes[i]];
  const factor = t.factor.names[t.factor.codes[i]];
  /** @type {Object<string, (Node|string)[]>} */
  const cells = {
    latent: [h("span", { class: "number" }, String(t.latent[i]))],
    name: [h("a", { href: address(row, "latent", t.latent[i]), tabindex: "-1", class: clear ? "" : "unclear" }, t.name.names[t.name.codes[i]])],
    support: [meter(t.support[i]), h("span", { class: "number" }, fixed(t.support[i]))],
    held: (t.held_out?.[i] ?? null) === null ? [MISSING] : [h("span", { class: "number" }, fixed(t.held_out[i])), h("span", { class: "number quiet" }, fixed(t.held_out_random?.[i]))],
    frequency: [h("span", { class: "number" }, percent(t.frequency[i]))],
    auc: label ? [h("span", { class: "clip-text" }, label), h("span", { class: "number quiet" }, fixed(t.auc[i]))] : [MISSING],
    rho: factor ? [h("span", { class: "clip-text" }, factor), h("span", { class: "number quiet" }, (t.rho[i] > 0 ? "+" : "") + fixed(t.rho[i]))] : [MISSING],
    recurrence: [h("span", { class: "number" }, fixed(t.recurrence[i]))],
  };
  const element = h("div", { class: `line${active ? " active" : ""}`, role: "row", id: `row-${at}`, "aria-rowindex": at + 2, "aria-selected": active ? "true" : null,
    click: (/** @type {MouseEvent} */ event) => {
      if (!(/** @type {Element} */ (event.target).closest("a"))) location.hash = address(row, "latent", t.latent[i]);
    } },
    ...columns.map(({ key }) => h("div", { class: `cell ${key}`, role: "gridcell" }, ...cells[key])));
  element.style.transform = `translateY(${at * ROW}px)`;
  return element;
}
