"use strict";
// A clip on a page: its spectrogram, the latent's curve over it, and its sound.

/**
 * What a clip is called, and the labels that matter.
 * @param {any} clips the shard "clips"
 * @param {number} number
 * @param {any} row of run.dictionaries
 */
function clipWords(clips, number, row) {
  const wanted = (row.labels ?? []).filter((/** @type {string} */ column) => clips.columns.includes(column));
  const labels = wanted.map((/** @type {string} */ column) => clips.labels[clips.columns.indexOf(column)][number]).filter(Boolean);
  return { title: clips.id[number], labels: [...labels, clips.group[number]].filter(Boolean) };
}

/**
 * A picture that plays where one clicks it.
 * @param {any} clips
 * @param {number} number
 * @param {{curve?: Curve|null, peak_s?: number|null, most?: number, band?: [number, number]|null, label: string}} shown
 *     `band` of the peak, in Hz; `label` says it in words
 * @returns {{root: HTMLElement, figure: Playable, canvas: HTMLCanvasElement}}
 */
function clipPicture(clips, number, { curve = null, peak_s = null, most = 1, band = null, label }) {
  const duration_s = clips.duration_s[number];
  const canvas = h("canvas", { role: "img", "aria-label": label });
  const cursor = h("span", { class: "cursor", hidden: true });
  const root = h("div", { class: "picture" }, canvas, cursor);
  if (peak_s !== null) {
    const mark = h("span", { class: "peak", "aria-hidden": "true" });
    mark.style.left = `${(100 * peak_s) / duration_s}%`;
    root.append(mark);
  }
  /** @type {Playable} */
  const figure = {
    clip: number,
    title: clips.id[number],
    duration_s,
    peak_s,
    stretches: firingStretches(curve, duration_s),
    band,
    showTime(at_s) {
      cursor.hidden = at_s === null;
      if (at_s !== null) cursor.style.left = `${Math.min(100, (100 * at_s) / duration_s)}%`;
    },
    showPlaying: () => {},
  };
  if (run.audio && clips.top_hz[number]) {
    root.classList.add("sounds");
    root.addEventListener("click", (/** @type {MouseEvent} */ event) => {
      const box = root.getBoundingClientRect();
      player.play(figure, ((event.clientX - box.left) / box.width) * duration_s);
    });
  }
  if (clips.top_hz[number]) {
    load(`clips/${number}`).then((data) => {
      if (band) canvas.after(bandStripe(band, clips.top_hz[number], data.bands));
      keepDrawn(canvas, () => {
        const { context, width, height } = sharp(canvas);
        context.drawImage(melPicture(data), 0, 0, width, height);
        if (curve) drawCurve(context, curve, { width, height, duration_s, most });
      });
    });
  } else {
    root.append(h("span", { class: "quiet unread" }, "The recording could not be read."));
  }
  return { root, figure, canvas };
}

/**
 * A band, marked on a spectrogram.
 * @param {[number, number]} band in Hz @param {number} top_hz where the picture ends @param {number} bands of the picture
 */
function bandStripe(band, top_hz, bands) {
  const stripe = h("span", { class: "stripe", "aria-hidden": "true" });
  const [foot, top] = band.map((hz) => 100 * heightOf(hz, top_hz, bands));
  stripe.style.bottom = `${foot}%`;
  stripe.style.height = `${top - foot}%`;
  return stripe;
}

/**
 * The band in which a latent is strongest, as far as the page's copy of the clip has it.
 * @param {any} row of run.dictionaries
 * @param {any} clips
 * @param {any} example of a latent's page
 * @returns {[number, number]|null}
 */
function bandOf(row, clips, example) {
  if (!row.bands_hz || example.band === null) return null;
  const [low_hz, high_hz] = row.bands_hz[example.band];
  const top_hz = clips.top_hz[example.clip];
  return low_hz < top_hz ? [low_hz, Math.min(high_hz, top_hz)] : null;
}

/**
 * A card: picture, name and labels, how strongly the latent fires there, and a button.
 * @param {any} row of run.dictionaries
 * @param {any} clips
 * @param {any} example of a latent's page
 * @param {number} most the latent's maximum
 */
function clipCard(row, clips, example, most) {
  const words = clipWords(clips, example.clip, row);
  const fires = example.value ? `fires up to ${short(example.value)}` : "does not fire";
  const at = example.peak_s === null || !example.value ? "" : `, peak at ${seconds(example.peak_s)}`;
  const band = bandOf(row, clips, example);
  const { root, figure } = clipPicture(clips, example.clip, {
    curve: curveOf(example.curve),
    peak_s: example.value ? example.peak_s : null,
    most,
    band,
    label: `Spectrogram of clip ${words.title}, ${seconds(clips.duration_s[example.clip])} long; the latent ${fires}${at}${band ? `, in the band ${bandName(band)}` : ""}.`,
  });
  const button = h("button", { class: "play", type: "button", "aria-label": `Play clip ${words.title}`, click: () => player.toggle(figure) });
  figure.showPlaying = (playing) => {
    button.classList.toggle("on", playing);
    button.setAttribute("aria-label", `${playing ? "Pause" : "Play"} clip ${words.title}`);
  };
  const card = h("li", { class: "card clip" },
    root,
    h("div", { class: "caption" },
      run.audio && clips.top_hz[example.clip] ? button : null,
      h("div", { class: "words" },
        h("a", { href: address(row, "clip", words.title), title: clips.file[example.clip] }, words.title),
        h("span", { class: "labels" }, words.labels.join(" · ")),
        band ? h("span", { class: "labels" }, bandName(band)) : null,
      ),
      h("span", { class: "value" }, example.value ? short(example.value) : "silent"),
    ),
  );
  return { card, figure };
}
