"use strict";
// A latent's page: the clips it fires in, and what it goes with.

/**
 * @param {any} row of run.dictionaries
 * @param {number} latent
 */
async function latentPage(row, latent) {
  const table = await load(`${row.data}/table`);
  const i = table.latent.indexOf(latent);
  if (i < 0) throw new Error(`this dictionary has no latent ${latent}`);
  const [clips, shard] = await Promise.all([load("clips"), load(`${row.data}/latents-${Math.floor(latent / row.latents_a_shard)}`)]);
  const page = shard[String(latent)];
  const most = table.max[i];
  const name = table.name.names[table.name.codes[i]];
  const kinds = { top: page.examples.filter((/** @type {any} */ e) => e.kind === "top"), control: page.examples.filter((/** @type {any} */ e) => e.kind === "control"), alike: page.examples.filter((/** @type {any} */ e) => e.kind === "alike") };
  const weaker = page.examples.filter((/** @type {any} */ e) => e.kind.startsWith("q")).sort((/** @type {any} */ a, /** @type {any} */ b) => b.value - a.value);
  /** @type {Playable|null} */
  let first = null;
  const cards = (/** @type {any[]} */ examples) => h("ul", { class: "cards" }, ...examples.map((example) => {
    const { card, figure } = clipCard(row, clips, example, most);
    first ??= figure;
    return card;
  }));
  const group = (/** @type {string} */ title, /** @type {string} */ hint, /** @type {any[]} */ examples) =>
    examples.length ? h("section", {}, h("h2", {}, title), h("p", { class: "quiet" }, hint), cards(examples)) : null;
  const root = h("div", { class: "page latent" },
    latentHead(row, table, i, page, name),
    h("div", { class: "beside" },
      h("div", { class: "examples" },
        group("Strongest", row.rows === "frames" ? `The curve is how strongly it fires, on one scale for all clips of this page.${row.bands_hz ? " Between the lines: the band of its peak." : ""}` : "This dictionary was trained on whole clips: there is one value a clip, and no curve.", kinds.top),
        ...effectSections(row, clips, page.effects),
        group("From strong to weak", "From clips at three quarters, half and a quarter of its ranking.", weaker),
        group("Where it should fire and does not", "Clips of its name in which it is silent.", kinds.control),
        group("Alike, and silent", "Clips most like the strongest one, by labels and group, in which it does not fire.", kinds.alike),
        page.examples.length ? null : h("p", { class: "card quiet none" }, "It fires in no clip.")),
      h("aside", { class: "evidence", "aria-label": "What it goes with" },
        histogram(page.histogram, most, table.frequency[i]),
        bars("Labels", "AUC: how well it tells clips of this label from the others; the band is what chance reaches.", page.labels.slice(0, 8).map(labelBar), 0, 1, 0.5),
        bars("Factors", "Rank correlation beyond the label; the band is what chance reaches for one factor. Strong colour: beyond chance with all latents and factors counted.", page.factors.slice(0, 8).map(factorBar), -1, 1, 0),
        neighbours(row, table, page.neighbours)),
    ));
  showTransport(() => first, Boolean(row.bands_hz));
  return root;
}

/**
 * @param {any} row @param {any} table @param {number} i place in the table @param {any} page @param {string} name
 */
function latentHead(row, table, i, page, name) {
  const { before, after, place, total } = beside(row, table, table.latent[i]);
  const step = (/** @type {number|null} */ latent, /** @type {string} */ text, /** @type {string} */ says, /** @type {string} */ rel) =>
    latent === null
      ? h("span", { class: "step off", "aria-hidden": "true" }, text)
      : h("a", { class: "step", href: address(row, "latent", latent), "aria-label": `${says} latent, ${latent}`, rel }, text);
  const facts = [
    ["Fires in", percent(table.frequency[i]), row.rows !== "frames" ? "of clips" : row.bands_hz ? "of patches" : "of frames"],
    ["Mean when on", short(table.mean_active[i]), `most ${short(table.max[i])}`],
    ["Confidence", fixed(table.confidence[i]), "from the groups it was named on"],
    ["Recurs", fixed(table.recurrence[i]), table.recurrence[i] === null ? "one seed only" : "cosine, other seeds"],
  ];
  const held = table.held_out?.[i] ?? null;
  if (held !== null) facts.push(["On new groups", `AUC ${fixed(held)}`, `a random name ${fixed(table.held_out_random[i])}`]);
  return h("div", { class: "title" },
    h("div", { class: "over" },
      h("p", { class: "kicker" }, `Latent ${table.latent[i]}`, h("span", { class: "quiet" }, place ? ` · ${place.toLocaleString("en")} of ${total.toLocaleString("en")} in the table's order` : "")),
      h("div", { class: "steps" }, step(before, "←", "Previous", "prev"), step(after, "→", "Next", "next"))),
    h("h1", { tabindex: "-1", class: table.support[i] >= CLEAR ? "" : "unclear" }, name),
    page.evidence ? h("p", { class: "lede" }, page.evidence) : null,
    judgement(name, page.judged),
    page.caveat ? h("p", { class: "caveat" }, h("b", {}, "But: "), page.caveat) : null,
    h("dl", { class: "facts" }, ...facts.map(([title, value, hint]) => h("div", {}, h("dt", {}, title), h("dd", {}, h("b", {}, value), " ", h("span", { class: "quiet" }, hint))))));
}

/**
 * What it does in groups that its name was not made from, in counts.
 * @param {string} name @param {any} told
 */
function judgement(name, told) {
  if (!told) return null;
  const what = name.startsWith("moments of") ? "moments" : "clips";
  const others = told.n_rows - told.n_holding;
  return h("p", { class: "lede" }, `In ${count(told.n_groups, "group")} that the name was not made from, it fires in ${told.n_hits.toLocaleString("en")} of ${told.n_holding.toLocaleString("en")} ${what} of that name and in ${told.n_false.toLocaleString("en")} of ${others.toLocaleString("en")} others.`);
}

/**
 * The latents before and after one, in the order of the table as it was last seen.
 * @param {any} row @param {any} table @param {number} latent
 */
function beside(row, table, latent) {
  if (!orders.has(row.name)) orders.set(row.name, orderOf(table, viewOf(row, new URLSearchParams())));
  const order = /** @type {Uint32Array} */ (orders.get(row.name));
  const at = order.indexOf(table.latent.indexOf(latent));
  const get = (/** @type {number} */ place) => (at >= 0 && place >= 0 && place < order.length ? table.latent[order[place]] : null);
  return { before: get(at - 1), after: get(at + 1), place: at + 1, total: order.length };
}

/**
 * How often it fires how strongly.
 * @param {number[]} counts @param {number} most @param {number} frequency
 */
function histogram(counts, most, frequency) {
  const top = Math.max(1, ...counts);
  const total = counts.reduce((sum, each) => sum + each, 0);
  const columns = counts.map((each, at) => {
    const column = h("span", { title: `${short((at * most) / counts.length)} to ${short(((at + 1) * most) / counts.length)}: ${each.toLocaleString("en")}` });
    column.style.height = each ? `${Math.max(2, (100 * each) / top)}%` : "0";
    return column;
  });
  return h("section", { class: "card" }, h("h2", {}, "How strongly"),
    h("div", { class: "histogram", role: "img", "aria-label": `Histogram of ${count(total, "activation")} between 0 and ${short(most)}; it is on in ${percent(frequency)} of rows` }, ...columns),
    h("div", { class: "ends quiet", "aria-hidden": "true" }, h("span", {}, "0"), h("span", {}, `${short(most)}`)));
}

/** @typedef {{name: string, hint: string, value: number|null, text: string, band: [number, number]|null, sure: boolean}} Bar */

/** @param {any[]} cells @returns {Bar} */
function labelBar([column, value, auc, null95, p]) {
  const band = null95 === null ? null : /** @type {[number, number]} */ ([1 - null95, null95]);
  return { name: value, hint: column, value: auc, text: fixed(auc), band, sure: p !== null && p < 0.05 };
}

/** @param {any[]} cells @returns {Bar} */
function factorBar([factor, family, unit, rho, null95, p]) {
  const band = null95 === null ? null : /** @type {[number, number]} */ ([-Math.abs(null95), Math.abs(null95)]);
  return { name: factor, hint: [family, unit].filter(Boolean).join(", "), value: rho, text: (rho > 0 ? "+" : "") + fixed(rho), band, sure: p !== null && p < 0.05 };
}

/**
 * Bars from a middle, over the band that chance reaches.
 * @param {string} title @param {string} hint @param {Bar[]} rows @param {number} low @param {number} high @param {number} zero
 */
function bars(title, hint, rows, low, high, zero) {
  if (!rows.length) return null;
  const place = (/** @type {number} */ value) => (100 * (Math.max(low, Math.min(high, value)) - low)) / (high - low);
  const lines = rows.map((row) => {
    const track = h("span", { class: "track", "aria-hidden": "true" });
    if (row.band) track.append(span("band", place(row.band[0]), place(row.band[1])));
    if (row.value !== null) track.append(span(row.sure ? "bar sure" : "bar", place(Math.min(zero, row.value)), place(Math.max(zero, row.value))));
    track.append(span("zero", place(zero), place(zero)));
    const chance = row.band ? `, chance reaches ${fixed(row.band[1])}` : "";
    return h("li", {},
      h("span", { class: "what" }, row.name, " ", h("span", { class: "quiet" }, row.hint)),
      h("span", { class: `number${row.sure ? " sure" : ""}` }, row.text, h("span", { class: "hidden" }, `${chance}; ${row.sure ? "beyond chance" : "not beyond chance"}`)),
      track);
  });
  return h("section", { class: "card" }, h("h2", {}, title), h("p", { class: "quiet" }, hint), h("ul", { class: "bars" }, ...lines));
}

/** @param {string} name @param {number} from @param {number} to in percent */
function span(name, from, to) {
  const element = h("span", { class: name });
  element.style.left = `${from}%`;
  element.style.width = `${to - from}%`;
  return element;
}

/** @param {any} row @param {any} table @param {[number, number, number][]} rows */
function neighbours(row, table, rows) {
  if (!rows.length) return null;
  const lines = rows.map(([other, cosine, cofiring]) => {
    const i = table.latent.indexOf(other);
    const name = i < 0 ? "" : table.name.names[table.name.codes[i]];
    return h("tr", {}, h("th", { scope: "row" }, h("a", { href: address(row, "latent", other) }, h("span", { class: "number" }, String(other)), " ", name)),
      h("td", {}, fixed(cosine)), h("td", {}, cofiring === null ? MISSING : fixed(cofiring)));
  });
  return h("section", { class: "card neighbours" }, h("h2", {}, "Neighbours"),
    h("p", { class: "quiet" }, "By the direction they write (cosine); beside it, how often they fire together."),
    h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Latent"), h("th", { scope: "col" }, "Cosine"), h("th", { scope: "col" }, "Together"))), h("tbody", {}, ...lines)));
}
