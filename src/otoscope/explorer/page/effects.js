"use strict";
// What the model says before and after a latent is switched off or on.

const SWITCHED = {
  off: ["Switched off", "What the model makes of clips in which it fires most, as they are and without this latent. All else stays."],
  on: ["Switched on", "What the model makes of clips in which it is silent, as they are and with this latent held at its mean when on."],
};

/**
 * The sections of a latent's page, none where nothing was switched.
 * @param {any} row of run.dictionaries
 * @param {any} clips the shard "clips"
 * @param {any[]} effects of the latent's page
 */
function effectSections(row, clips, effects) {
  return Object.entries(SWITCHED).map(([switched, [title, hint]]) => {
    const own = effects.filter((effect) => effect.switched === switched);
    if (!own.length) return null;
    const means = row.rows === "frames" ? "" : " The dictionary was trained on means over clips, and is put to every frame here.";
    return h("section", { class: "effects" }, h("h2", {}, title), h("p", { class: "quiet" }, hint + means), h("ul", { class: "cards" }, ...own.map((effect) => effectCard(row, clips, effect))));
  });
}

/** @param {any} row @param {any} clips @param {any} effect */
function effectCard(row, clips, effect) {
  const words = clipWords(clips, effect.clip, row);
  const body = effect.sound ? soundPair(row, effect, words.title) : effect.readout === "words" || effect.readout === "letters" ? textPair(effect) : verdict(effect);
  return h("li", { class: "card effect" },
    h("div", { class: "words" }, h("a", { href: address(row, "clip", words.title), title: clips.file[effect.clip] }, words.title), h("span", { class: "labels" }, words.labels.join(" · "))),
    body,
    effect.shares.length ? shareBars(effect.shares) : null,
    h("p", { class: "quiet size" }, sizeOf(effect)));
}

/**
 * How much changed, beside a push that is as large.
 * @param {any} effect
 */
function sizeOf({ measure, change, random }) {
  const [name, unit, say] = measure === "kl" ? ["Divergence", " nats", short] : measure === "moved" ? ["Moved", "", (/** @type {number|null} */ value) => (value === null ? MISSING : percent(value))] : [measure, "", short];
  return `${name} ${say(change)}${unit}; of a push as large in a random direction ${say(random)}.`;
}

/** What it says: a class, a number. @param {any} effect */
function verdict({ before, after }) {
  if (before === after) return h("p", { class: "says" }, h("b", {}, before), h("span", { class: "quiet" }, " either way"));
  return h("p", { class: "says" }, h("b", {}, before), h("span", { class: "quiet", "aria-hidden": "true" }, " → "), h("span", { class: "hidden" }, " becomes "), h("b", { class: "changed" }, after));
}

/** Two texts, word by word. @param {any} effect */
function textPair({ before, after }) {
  const line = (/** @type {string} */ title, /** @type {Node[]} */ parts) =>
    h("div", {}, h("dt", {}, title), h("dd", {}, ...(parts.length ? parts : [h("span", { class: "quiet" }, "nothing")])));
  const [was, is] = differences(before, after);
  return h("dl", { class: "said" }, line("before", was), before === after ? h("div", {}, h("dt", {}, "after"), h("dd", { class: "quiet" }, "the same")) : line("after", is));
}

/**
 * Two texts as words, what only one of them has marked.
 * @param {string} before @param {string} after
 * @returns {[Node[], Node[]]}
 */
function differences(before, after) {
  const [a, b] = [before, after].map((text) => text.split(/\s+/).filter(Boolean));
  // How many words of a from i on and b from j on are alike, in order.
  const alike = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--) alike[i][j] = a[i] === b[j] ? alike[i + 1][j + 1] + 1 : Math.max(alike[i + 1][j], alike[i][j + 1]);
  /** @type {[Node[], Node[]]} */
  const found = [[], []];
  const put = (/** @type {0|1} */ side, /** @type {string} */ word, /** @type {string|null} */ mark) =>
    found[side].push(mark ? h(mark, {}, word) : h("span", {}, word), document.createTextNode(" "));
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      put(0, a[i++], null);
      put(1, b[j++], null);
    } else if (j === b.length || (i < a.length && alike[i + 1][j] >= alike[i][j + 1])) put(0, a[i++], "del");
    else put(1, b[j++], "ins");
  }
  return found;
}

/** Probabilities before and after. @param {[string, number|null, number|null][]} shares */
function shareBars(shares) {
  const lines = shares.map(([name, before, after]) => {
    const track = h("span", { class: "track two", "aria-hidden": "true" }, span("bar was", 0, 100 * (before ?? 0)), span("bar is", 0, 100 * (after ?? 0)));
    return h("li", {}, h("span", { class: "what" }, name), h("span", { class: "number" }, `${percent(before)} → ${percent(after)}`), track);
  });
  return h("ul", { class: "bars" }, ...lines);
}

/** Two sounds. @param {any} row @param {any} effect @param {string} title */
function soundPair(row, effect, title) {
  return h("div", { class: "pair" }, ...["before", "after"].map((side) => {
    const key = `${effect.sound}-${side}`;
    const duration_s = row.sounds_s[key];
    if (duration_s === undefined) return h("p", { class: "quiet" }, `The sound ${side} could not be read.`);
    const canvas = h("canvas", { role: "img", "aria-label": `Spectrogram of clip ${title}, ${side}` });
    const cursor = h("span", { class: "cursor", hidden: true });
    const button = h("button", { class: "play", type: "button", "aria-label": `Play clip ${title}, ${side}`, click: () => player.toggle(figure) });
    /** @type {Playable} */
    const figure = {
      clip: key,
      title: `${title}, ${side}`,
      duration_s,
      peak_s: null,
      stretches: [],
      showTime(at_s) {
        cursor.hidden = at_s === null;
        if (at_s !== null) cursor.style.left = `${Math.min(100, (100 * at_s) / duration_s)}%`;
      },
      showPlaying: (playing) => {
        button.classList.toggle("on", playing);
        button.setAttribute("aria-label", `${playing ? "Pause" : "Play"} clip ${title}, ${side}`);
      },
    };
    load(`clips/${key}`).then((data) => keepDrawn(canvas, () => {
      const { context, width, height } = sharp(canvas);
      context.drawImage(melPicture(data), 0, 0, width, height);
    }));
    return h("div", {}, h("div", { class: "picture" }, canvas, cursor), h("div", { class: "caption" }, run.audio ? button : null, h("span", {}, side)));
  }));
}
