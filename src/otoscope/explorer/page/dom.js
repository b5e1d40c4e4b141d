"use strict";
// Elements and words. All text goes in as text nodes: a label or file name can never become markup.

/**
 * Make an element.
 * @param {string} tag
 * @param {Object<string, any>} [properties] attributes; functions become listeners ("click"), null leaves one out
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {any}
 */
function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(.../** @type {(Node|string)[]} */ (children.filter((child) => child !== null && child !== undefined && child !== false)));
  return element;
}

const MISSING = "–";

/**
 * A number with few digits and a true minus sign.
 * @param {number|null|undefined} value
 * @param {number} [digits] after the point
 */
function fixed(value, digits = 2) {
  if (value === null || value === undefined || Number.isNaN(value)) return MISSING;
  const text = value.toFixed(digits);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
}

/**
 * A share as percent: "12.0 %", "0.34 %".
 * @param {number|null|undefined} share
 */
function percent(share) {
  if (share === null || share === undefined) return MISSING;
  const value = 100 * share;
  const text = value === 0 || value >= 99.95 ? value.toFixed(0) : value >= 0.995 ? value.toFixed(1) : String(Number(value.toPrecision(2)));
  return `${text} %`;
}

/** @param {number|null|undefined} value */
function short(value) {
  if (value === null || value === undefined) return MISSING;
  return String(Number(value.toPrecision(3))).replace("-", "−");
}

/** @param {number|null|undefined} seconds */
function seconds(seconds) {
  return seconds === null || seconds === undefined ? MISSING : `${seconds.toFixed(2)} s`;
}

/** @param {number} n @param {string} noun @param {string} [plural] */
function count(n, noun, plural = `${noun}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? noun : plural}`;
}

/** @param {any} row of run.dictionaries */
function layerName(row) {
  return row.layer === "final" ? "final output" : `layer ${row.layer}`;
}

/** @param {any} row of run.dictionaries */
function dictionaryName(row) {
  const parts = [layerName(row), row.kind];
  if (row.sparsity !== null) parts.push(`${Number((100 * row.sparsity).toFixed(2))} % sparse`);
  if (row.seed) parts.push(`seed ${row.seed}`);
  return parts.filter(Boolean).join(" · ");
}

/**
 * The address of a page.
 * @param {any} row of run.dictionaries
 * @param {"latent"|"clip"} [kind]
 * @param {string|number} [id]
 */
function address(row, kind, id) {
  const base = `#/${row.name.split("/").map(encodeURIComponent).join("/")}`;
  return kind ? `${base}/${kind}/${encodeURIComponent(String(id))}` : base;
}

/**
 * A bar from 0 to `share` of its width, with nothing to read: the number stands beside it.
 * @param {number|null} share
 */
function meter(share) {
  const fill = h("span", { class: "fill" });
  fill.style.width = `${100 * Math.max(0, Math.min(1, share ?? 0))}%`;
  return h("span", { class: "meter", "aria-hidden": "true" }, fill);
}
