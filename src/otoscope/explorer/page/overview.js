"use strict";
// The first page: what was split into latents, how well, and which latents there are.

/** What each dictionary's table shows, kept while the page is open: name -> view. @type {Map<string, View>} */
const views = new Map();
/** The order in which latents follow one another: name -> latent numbers' places. @type {Map<string, Uint32Array>} */
const orders = new Map();

/**
 * @param {any} row of run.dictionaries
 * @param {URLSearchParams} asked what the address says of the table
 */
async function overviewPage(row, asked) {
  const table = await load(`${row.data}/table`);
  const view = viewOf(row, asked);
  const map = latentMap(row, table);
  const list = latentTable(row, table, view, (order) => {
    orders.set(row.name, order);
    map.highlight(order);
    rememberView(row, view);
  });
  const order = orderOf(table, view);
  orders.set(row.name, order);
  if (order.length !== table.latent.length) map.highlight(order);
  return h("div", { class: "page overview" },
    h("div", { class: "title" },
      h("h1", { tabindex: "-1" }, run.name),
      h("p", { class: "lede" }, overviewSentence()),
      run.dictionaries.length === 1 ? h("dl", { class: "facts" }, ...measures().map(([title, hint, value]) => h("div", { title: hint }, h("dt", {}, title), h("dd", {}, h("b", {}, value(row)))))) : null,
      switchedLatents(row),
      run.left_out.length ? h("p", { class: "caveat" }, h("b", {}, "Left out: "), `${run.left_out.join(", ")} (latents.parquet is gone from there; run 'otoscope latents' again).`) : null,
      served ? h("p", {}, h("a", { href: `${address(row)}/own` }, "Try a sound of your own")) : null,
      run.report ? h("p", {}, h("a", { href: run.report }, "The report of this run")) : null),
    run.dictionaries.length > 1 ? dictionaries(row) : null,
    map.root,
    list,
    notice(),
  );
}

function overviewSentence() {
  const none = run.dictionaries.every((/** @type {any} */ each) => each.n_clear === 0);
  return toHear() + (none ? " No name of a latent holds: with few speakers (or other groups) or few clips, chance does as well. Listen, and take what you find for a hint." : "");
}

/** @param {any} row of run.dictionaries */
function switchedLatents(row) {
  if (!row.switched.length) return null;
  const links = row.switched.slice(0, 20).flatMap((/** @type {number} */ latent) => [" ", h("a", { class: "number", href: address(row, "latent", latent) }, String(latent))]);
  return h("p", { class: "switched" }, "What the model says before and after they are switched off or on, of latents", ...links, row.switched.length > 20 ? " and others." : ".");
}

function toHear() {
  const rows = run.dictionaries;
  if (rows.length === 1) {
    const [row] = rows;
    return `What each latent of ${layerName(row)} of ${row.encoder ?? "the model"} responds to (${dictionaryName(row).replace(`${layerName(row)} · `, "")}), ${run.audio ? "to be heard" : "to be seen"} in ${count(run.n_clips, "clip")}.`;
  }
  const latents = rows.reduce((/** @type {number} */ sum, /** @type {any} */ each) => sum + (each.n_alive ?? 0), 0);
  const many = rows.length === 1 ? "" : ` of ${count(rows.length, "dictionary", "dictionaries")}`;
  return `${count(latents, "latent")}${many} that fire, ${run.audio ? "to be heard" : "to be seen"} in ${count(run.n_clips, "clip")}.`;
}

/**
 * What is known of dictionaries: title, what it means, and how a row of run.dictionaries says it.
 * @returns {[string, string, (row: any) => string][]}
 */
function measures() {
  const rows = run.dictionaries;
  const has = (/** @type {string} */ key) => rows.some((/** @type {any} */ row) => row[key] !== null && row[key] !== undefined);
  /** @type {[string, string, (row: any) => string][]} */
  const columns = [
    ["Fire", "latents that fire at least once, of all", (row) => `${(row.n_alive ?? 0).toLocaleString("en")} of ${(row.n_latents ?? 0).toLocaleString("en")}`],
    ["Clear names", "latents whose name the evidence holds", (row) => (row.n_clear ?? 0).toLocaleString("en")],
  ];
  if (has("l0")) columns.push(["L0", "latents that fire at once, on average", (row) => fixed(row.l0, 1)]);
  if (has("fvu")) columns.push(["FVU", "share of the variance that the dictionary does not give back", (row) => fixed(row.fvu, 3)]);
  if (has("score")) columns.push(["Probe", `what a probe of the codes scores${rows[0].metric ? ` (${rows[0].metric.replaceAll("_", " ")})` : ""}`, (row) => (row.metric === "accuracy" ? percent(row.score) : fixed(row.score))]);
  if (has("verdict")) columns.push(["Health", "what the check-up says of it", (row) => row.verdict ?? MISSING]);
  return columns;
}

/**
 * The dictionaries and their measures.
 * @param {any} current of run.dictionaries
 */
function dictionaries(current) {
  const rows = run.dictionaries;
  const columns = measures();
  const severalEncoders = new Set(rows.map((/** @type {any} */ row) => row.encoder)).size > 1;
  const head = h("tr", {}, h("th", { scope: "col" }, "Dictionary"), ...columns.map(([title, hint]) => h("th", { scope: "col", title: hint }, title)));
  const lines = rows.map((/** @type {any} */ row) => {
    const name = (severalEncoders ? `${row.encoder} · ` : "") + dictionaryName(row);
    const link = h("a", { href: address(row), "aria-current": row === current ? "true" : null }, name);
    return h("tr", { class: row === current ? "current" : "" }, h("th", { scope: "row" }, link),
      ...columns.map(([title, , value]) => h("td", { "data-title": title, class: title === "Health" ? "words" : "" }, value(row))));
  });
  return h("section", { class: "card dictionaries", "aria-labelledby": "dictionaries-title" },
    h("h2", { id: "dictionaries-title" }, severalEncoders ? "Dictionaries" : `Dictionaries of ${rows[0].encoder ?? "the model"}`),
    h("div", { class: "scroll" }, h("table", {}, h("thead", {}, head), h("tbody", {}, ...lines))));
}

/** What this folder holds, and whose it is. */
function notice() {
  const sets = new Map();
  for (const row of run.dictionaries) if (row.dataset || row.licence) sets.set(row.dataset ?? "", row.licence);
  const named = [...sets].map(([name, licence]) => `${name === "folder" || !name ? "the clips" : name} (licence: ${licence || "not stated"})`).join(", ");
  const what = run.audio
    ? "This folder holds copies of recordings. Where people are heard in them, pass it on only as they and the licence allow."
    : "The recordings were left out of this folder; it holds pictures of them only.";
  return h("footer", { class: "notice" },
    h("p", {}, h("b", {}, what), named ? ` Data: ${named}.` : " The data set and its licence are not stated."),
    run.unread ? h("p", {}, `${count(run.unread, "recording")} could not be read and ${run.unread === 1 ? "is" : "are"} not shown.`) : null,
    h("p", { class: "quiet" }, `A name is made of the evidence beside it and is no more than that. Made by Otoscope ${run.version}. Keys: / search, ← → previous and next latent, space play, Esc back.`));
}

/**
 * The view that the address asks for; without one, the last that was seen.
 * @param {any} row
 * @param {URLSearchParams} asked
 * @returns {View}
 */
function viewOf(row, asked) {
  if ([...asked.keys()].length || !views.has(row.name)) {
    const sort = asked.get("sort") ?? "";
    views.set(row.name, {
      ...FIRST_VIEW,
      q: asked.get("q") ?? "",
      sort: COLUMNS.some((column) => column.key === sort.replace("-", "")) ? sort : FIRST_VIEW.sort,
      label: asked.get("label") ?? "",
      clear: asked.has("clear"),
      dead: asked.has("dead"),
    });
  }
  return /** @type {View} */ (views.get(row.name));
}

/**
 * Put the view into the address, without a step of the browser's history.
 * @param {any} row
 * @param {View} view
 */
function rememberView(row, view) {
  const parts = new URLSearchParams();
  if (view.q) parts.set("q", view.q);
  if (view.sort !== FIRST_VIEW.sort) parts.set("sort", view.sort);
  if (view.label) parts.set("label", view.label);
  if (view.clear) parts.set("clear", "");
  if (view.dead) parts.set("dead", "");
  const query = parts.toString();
  history.replaceState(null, "", address(row) + (query ? `?${query}` : ""));
}
