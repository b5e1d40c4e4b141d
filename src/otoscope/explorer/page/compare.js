"use strict";
// Two clips side by side: the latents that tell them apart, and those they share.

/**
 * Choose a clip to compare with, and see both.
 * @param {any} row @param {any} table @param {any} clips @param {number} number @param {string} other id of the other clip, or ""
 */
async function comparison(row, table, clips, number, other) {
  const choice = h("select", { "aria-label": "Compare with", change: () => {
    location.hash = address(row, "clip", clips.id[number]) + (choice.value ? `?with=${encodeURIComponent(choice.value)}` : "");
  } }, h("option", { value: "" }, "Compare with another clip…"), ...clips.id.filter((/** @type {string} */ id) => id !== clips.id[number]).map((/** @type {string} */ id) => h("option", { value: id }, id)));
  const second = clips.id.indexOf(other);
  if (second < 0) return h("section", { class: "card" }, h("div", { class: "tools bare" }, h("h2", {}, "Another clip"), choice));
  choice.value = other;
  const [one, two] = await Promise.all([number, second].map((clip) => valuesIn(row, clip)));
  const latents = [...new Set([...one.keys(), ...two.keys()])];
  const difference = (/** @type {number} */ latent) => (one.get(latent) ?? 0) - (two.get(latent) ?? 0);
  const apart = latents.sort((a, b) => Math.abs(difference(b)) - Math.abs(difference(a))).slice(0, 20);
  const lines = apart.map((latent) => {
    const i = table.latent.indexOf(latent);
    return h("tr", {}, h("th", { scope: "row" }, h("a", { href: address(row, "latent", latent) }, h("span", { class: "number" }, String(latent)), " ", i < 0 ? "" : table.name.names[table.name.codes[i]])),
      ...[one, two].map((values) => h("td", {}, meter(values.get(latent) ?? 0), " ", percent(values.get(latent) ?? 0))));
  });
  const { root, figure } = clipPicture(clips, second, { label: `Spectrogram of clip ${other}` });
  const button = h("button", { class: "play", type: "button", "aria-label": `Play clip ${other}`, click: () => player.toggle(figure) });
  figure.showPlaying = (playing) => button.classList.toggle("on", playing);
  return h("section", { class: "card compared" }, h("div", { class: "tools bare" }, h("h2", {}, "Another clip"), choice, run.audio ? button : null), root,
    h("p", { class: "quiet" }, "The twenty latents that differ most, as shares of each latent's maximum in the corpus."),
    h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Latent"), h("th", { scope: "col" }, clips.id[number]), h("th", { scope: "col" }, other))), h("tbody", {}, ...lines))));
}

/**
 * Which latents fire in a clip, as shares of their maxima.
 * @param {any} row @param {number} clip
 * @returns {Promise<Map<number, number>>}
 */
async function valuesIn(row, clip) {
  const shard = await load(`${row.data}/clips-${Math.floor(clip / row.clips_a_shard)}`);
  return new Map(shard[String(clip)].rows.map((/** @type {number[]} */ [latent, , , ofMax]) => [latent, ofMax]));
}
