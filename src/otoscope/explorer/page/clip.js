"use strict";
// A clip's page: its spectrogram, and below it every latent that fires, over time.

/** @typedef {{latent: number, max: number, share: number, ofMax: number|null, curve: Curve|null}} Firing */

/**
 * @param {any} row of run.dictionaries
 * @param {string} id of the clip
 * @param {string} other id of a clip to compare with, or ""
 */
async function clipPage(row, id, other) {
  const [table, clips] = await Promise.all([load(`${row.data}/table`), load("clips")]);
  const number = clips.id.indexOf(id);
  if (number < 0) throw new Error(`no page of this folder shows a clip '${id}'`);
  const shard = await load(`${row.data}/clips-${Math.floor(number / row.clips_a_shard)}`);
  const active = shard[String(number)];
  const duration_s = clips.duration_s[number];
  const { root: picture, figure } = clipPicture(clips, number, { label: `Spectrogram of clip ${id}, ${seconds(duration_s)} long, up to ${(clips.top_hz[number] / 1000).toFixed(0)} kHz` });
  const line = h("span", { class: "cursor long", hidden: true });
  const plain = figure.showTime;
  figure.showTime = (at_s) => {
    plain(at_s);
    line.hidden = at_s === null;
    line.style.setProperty("--at", String(Math.min(1, (at_s ?? 0) / duration_s)));
  };
  /** @type {Firing[]} */
  const firing = active.rows.map((/** @type {number[]} */ [latent, max, share, ofMax]) => ({ latent, max, share, ofMax, curve: curveOf(active.curves[latent]) }));
  const drawn = firing.filter((each) => each.curve);
  const rest = firing.filter((each) => !each.curve);
  const strips = drawn.map((each) => strip(row, table, each, figure));
  const root = h("div", { class: "page clip-page" },
    h("div", { class: "title" },
      h("p", { class: "kicker" }, "Clip"),
      h("h1", { tabindex: "-1" }, id),
      h("dl", { class: "facts" }, ...clipFacts(clips, number).map(([title, value]) => h("div", {}, h("dt", {}, title), h("dd", {}, value))))),
    h("section", { class: "card timeline" },
      h("h2", {}, drawn.length ? "Latents over time" : "The clip"),
      drawn.length ? h("p", { class: "quiet" }, `The ${drawn.length === 1 ? "one" : drawn.length} strongest of ${count(firing.length, "latent")} that fire, each on its own scale. A click plays from there; the player then follows that latent.`) : null,
      h("div", { class: "strips" },
        h("div", { class: "strip whole" }, h("span", { class: "who quiet" }, `0 to ${(clips.top_hz[number] / 1000).toFixed(0)} kHz`), picture),
        ...strips,
        h("div", { class: "strip" }, h("span", {}), timeAxis(duration_s)),
        line)),
    rest.length ? h("section", { class: "card" }, h("h2", {}, drawn.length ? "Weaker ones" : "Latents that fire"), restOf(row, table, rest)) : null);
  root.append(await comparison(row, table, clips, number, other));
  showTransport(() => figure);
  return root;
}

/** @param {any} clips @param {number} number @returns {[string, string][]} */
function clipFacts(clips, number) {
  /** @type {[string, string][]} */
  const facts = [["File", clips.file[number]], ["Length", seconds(clips.duration_s[number])]];
  if (clips.start_s[number]) facts.push(["Starts at", seconds(clips.start_s[number])]);
  facts.push(["Split", clips.split[number]], ["Group", clips.group[number]]);
  clips.columns.forEach((/** @type {string} */ column, /** @type {number} */ at) => {
    if (clips.labels[at][number]) facts.push([column, clips.labels[at][number]]);
  });
  return facts;
}

/**
 * One latent over time.
 * @param {any} row @param {any} table @param {Firing} firing @param {Playable} figure
 */
function strip(row, table, { latent, max, share, curve: known }, figure) {
  const i = table.latent.indexOf(latent);
  const name = i < 0 ? "" : table.name.names[table.name.codes[i]];
  const curve = /** @type {Curve} */ (known);
  const strongest = curve.values.indexOf(255);
  const peak_s = curve.start_s + (Math.max(0, strongest) + 0.5) * curve.step_s;
  const canvas = h("canvas", { role: "img", "aria-label": `Latent ${latent} peaks at ${seconds(peak_s)} with ${short(max)} and is on ${percent(share)} of the time` });
  keepDrawn(canvas, () => {
    const { context, width, height } = sharp(canvas);
    drawCurve(context, curve, { width, height, duration_s: figure.duration_s, most: curve.peak });
  });
  const element = h("div", { class: "strip" },
    h("a", { class: "who", href: address(row, "latent", latent), title: name }, h("span", { class: "number" }, String(latent)), " ", name),
    h("div", { class: "picture curve" }, canvas));
  canvas.addEventListener("click", (/** @type {MouseEvent} */ event) => {
    document.querySelectorAll(".strip.followed").forEach((each) => each.classList.remove("followed"));
    element.classList.add("followed");
    figure.stretches = firingStretches(curve, figure.duration_s);
    figure.peak_s = peak_s;
    const box = canvas.getBoundingClientRect();
    if (run.audio) player.play(figure, ((event.clientX - box.left) / box.width) * figure.duration_s);
  });
  return element;
}

/** @param {number} duration_s */
function timeAxis(duration_s) {
  const step = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60].find((each) => duration_s / each <= 8) ?? 300;
  const axis = h("div", { class: "axis", "aria-hidden": "true" });
  for (let at = 0; at <= duration_s + 1e-6; at += step) {
    const text = h("span", {}, `${Number(at.toFixed(2))}${at ? "" : " s"}`);
    text.style.left = `${(100 * at) / duration_s}%`;
    axis.append(text);
  }
  return axis;
}

/** @param {any} row @param {any} table @param {Firing[]} rest */
function restOf(row, table, rest) {
  return h("ul", { class: "rest" }, ...rest.map(({ latent, max, ofMax }) => {
    const i = table.latent.indexOf(latent);
    return h("li", {}, h("a", { href: address(row, "latent", latent) }, h("span", { class: "number" }, String(latent)), " ", i < 0 ? "" : table.name.names[table.name.codes[i]]),
      meter(ofMax), h("span", { class: "number quiet" }, short(max)));
  }));
}
