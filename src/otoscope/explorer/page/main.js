"use strict";
// Which page the address asks for, and the keys.

/** @type {any} The shard "run". */
let run = null;
/** How many pages were asked for; a slow one must not replace a later one. */
let asked = 0;

/**
 * @returns {{name: string, kind: string|undefined, id: string, query: URLSearchParams}}
 */
function where() {
  const found = /^#\/(.*?)(?:\/(latent|clip|own)\/?([^?/]*))?(?:\?(.*))?$/.exec(location.hash) ?? ["", location.hash, undefined, "", ""];
  return { name: found[1].split("/").map(decoded).join("/"), kind: found[2], id: decoded(found[3] ?? ""), query: new URLSearchParams(found[4] ?? "") };
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Show the page that the address asks for. */
async function showPage() {
  const mine = ++asked;
  const { name, kind, id, query } = where();
  const main = /** @type {HTMLElement} */ (document.getElementById("main"));
  const row = run.dictionaries.find((/** @type {any} */ each) => each.name === name) ?? (name ? null : run.dictionaries[0]);
  player.leave();
  /** @type {HTMLElement} */ (document.getElementById("transport")).hidden = true;
  let page;
  try {
    if (!row) throw new Error(`this folder has no dictionary '${name}'`);
    page = kind === "latent" ? await latentPage(row, Number(id)) : kind === "clip" ? await clipPage(row, id, query.get("with") ?? "") : kind === "own" && served ? await ownPage(row) : await overviewPage(row, query);
  } catch (error) {
    page = h("div", { class: "page" }, h("h1", { tabindex: "-1" }, "There is nothing here"), h("p", {}, `${/** @type {Error} */ (error).message}.`), h("p", {}, h("a", { href: "#/" }, "To the overview")));
  }
  if (mine !== asked) return;
  main.replaceChildren(page);
  redraw();
  page.dataset.ready = "";
  showHead(row, kind, id);
  window.scrollTo(0, 0);
  const title = /** @type {HTMLElement|null} */ (page.querySelector("h1"));
  document.title = `${title?.textContent ?? ""} · Otoscope`;
  if (mine > 1) title?.focus({ preventScroll: true });
}

/** @param {any} row @param {string|undefined} kind @param {string} id */
function showHead(row, kind, id) {
  const chooser = /** @type {HTMLSelectElement} */ (document.getElementById("chooser"));
  const crumbs = /** @type {HTMLElement} */ (document.getElementById("crumbs"));
  if (row) chooser.value = row.name;
  crumbs.replaceChildren(...(row && kind ? [h("a", { href: address(row) }, "All latents"), h("span", { class: "quiet" }, kind === "latent" ? `latent ${id}` : id || "your own sound")] : []));
}

/** @param {KeyboardEvent} event */
function pressed(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  const typing = target.matches("input, select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    const { name, kind } = where();
    if (typing) target.blur();
    else if (kind) location.hash = `#/${name.split("/").map(encodeURIComponent).join("/")}`;
  }
  if (typing) return;
  const link = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  if (link) /** @type {HTMLElement|null} */ (document.querySelector(`a[rel=${link}]`))?.click();
  if (event.key === "/") {
    event.preventDefault();
    document.getElementById("search")?.focus();
  }
  if (event.key === " " && !target.matches("button, a, [role=grid]")) {
    const button = /** @type {HTMLElement|null} */ (document.querySelector("#transport:not([hidden]) .play"));
    if (!button) return;
    event.preventDefault();
    button.click();
  }
}

async function start() {
  const main = /** @type {HTMLElement} */ (document.getElementById("main"));
  try {
    run = await load("run");
  } catch (error) {
    const old = typeof DecompressionStream === "undefined";
    main.replaceChildren(h("p", { class: "loading" }, old ? "This browser is too old for this page: it cannot unpack data. Any of 2023 or later can." : `The data cannot be read: ${/** @type {Error} */ (error).message}.`));
    return;
  }
  const chooser = /** @type {HTMLSelectElement} */ (document.getElementById("chooser"));
  for (const row of run.dictionaries) chooser.append(h("option", { value: row.name }, `${row.encoder ?? ""} ${dictionaryName(row)}`.trim()));
  chooser.addEventListener("change", () => (location.hash = address(run.dictionaries.find((/** @type {any} */ row) => row.name === chooser.value))));
  /** @type {HTMLElement} */ (chooser.parentElement).hidden = run.dictionaries.length < 2;
  window.addEventListener("hashchange", showPage);
  document.addEventListener("keydown", pressed);
  await showPage();
}

start();
