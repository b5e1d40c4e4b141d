"use strict";
// One sound at a time. What is played is a figure: a clip as some page shows it.

/**
 * @typedef {Object} Playable
 * @property {number|string} clip its number; of another sound its name
 * @property {string} title
 * @property {number} duration_s
 * @property {number|null} peak_s
 * @property {[number, number][]} stretches where the latent fires
 * @property {[number, number]|null} [band] of its peak, from and to, in Hz
 * @property {(at_s: number|null) => void} showTime moves the cursor; null takes it away
 * @property {(playing: boolean) => void} showPlaying
 */

const MODES = /** @type {const} */ ([
  ["whole", "Whole clip"],
  ["loop", "Loop the peak"],
  ["only", "Only where it fires"],
]);
const LOOP_S = 0.4; // to either side of the peak

const player = {
  sound: new Audio(),
  /** @type {string} */
  mode: "whole",
  /** Whether only the peak's band is played, where there is one. */
  bandAlone: false,
  url: "",
  /** @type {Playable|null} */
  now: null,
  /** @type {[number, number][]} What is played, in this order. */
  stretches: [],
  /** Which of them. */
  at: 0,
  /** @type {() => void} */
  changed: () => {},

  /**
   * Play a clip, or stop it where it plays already.
   * @param {Playable} figure
   */
  toggle(figure) {
    if (player.now === figure && !player.sound.paused) player.pause();
    else player.play(figure);
  },

  /**
   * @param {Playable} figure
   * @param {number|null} [from_s] where someone pointed; in a loop, what the loop is around
   */
  async play(figure, from_s = null) {
    if (player.now !== figure) {
      player.leave();
      player.now = figure;
    }
    try {
      const url = await soundUrl(figure, player.bandAlone);
      if (player.now !== figure) return; // another was asked for meanwhile
      if (player.url !== url) player.sound.src = player.url = url;
      player.plan(figure, from_s);
      player.sound.currentTime = from_s !== null && player.mode === "whole" ? from_s : player.stretches[player.at][0];
      await player.sound.play();
    } catch (error) {
      if (/** @type {Error} */ (error).name === "AbortError") return;
      say("This sound cannot be played.");
      return;
    }
    figure.showPlaying(true);
    player.changed();
    requestAnimationFrame(player.tick);
  },

  /**
   * Set what is to be heard.
   * @param {Playable} figure
   * @param {number|null} from_s
   */
  plan(figure, from_s) {
    const whole = /** @type {[number, number]} */ ([0, figure.duration_s]);
    player.stretches = [whole];
    player.at = 0;
    const centre = from_s ?? figure.peak_s;
    if (player.mode === "loop" && centre !== null) {
      player.stretches = [[Math.max(0, centre - LOOP_S), Math.min(figure.duration_s, centre + LOOP_S)]];
    } else if (player.mode === "only" && figure.stretches.length) {
      player.stretches = figure.stretches;
      const next = figure.stretches.findIndex(([, stop]) => from_s !== null && from_s < stop);
      player.at = Math.max(0, next);
    }
  },

  /** Follow the sound: move the cursor, and jump where a stretch ends. */
  tick() {
    const { now, sound } = player;
    if (!now || sound.paused) return;
    const at_s = sound.currentTime;
    const [, stop] = player.stretches[player.at];
    const last = player.at === player.stretches.length - 1;
    if (at_s >= stop - 0.005 || sound.ended) {
      if (player.mode === "loop") sound.currentTime = player.stretches[0][0];
      else if (!last) sound.currentTime = player.stretches[++player.at][0];
      else if (at_s >= stop + 0.02 && stop < now.duration_s) return player.pause();
    }
    now.showTime(at_s);
    player.changed();
    requestAnimationFrame(player.tick);
  },

  pause() {
    player.sound.pause();
    player.now?.showPlaying(false);
    player.changed();
  },

  /** Stop, and forget the clip. */
  leave() {
    player.sound.pause();
    player.now?.showPlaying(false);
    player.now?.showTime(null);
    player.now = null;
    player.changed();
  },

  /** @param {string} mode */
  setMode(mode) {
    player.mode = mode;
    player.again();
  },

  toggleBand() {
    player.bandAlone = !player.bandAlone;
    player.again();
  },

  /** Play what plays in another way. */
  again() {
    if (player.now && !player.sound.paused) player.play(player.now);
    player.changed();
  },
};

player.sound.preload = "auto";
player.sound.addEventListener("ended", () => {
  if (!player.now) return;
  if (player.mode === "loop") player.play(player.now);
  else player.pause();
});

/**
 * Where a sound lies: in a file; in a script, where bands can be heard; inside, where all is one file.
 * @param {Playable} figure
 * @param {boolean} bandAlone
 * @returns {Promise<string>}
 */
async function soundUrl({ clip, band }, bandAlone) {
  if (bandAlone && band) return bandUrl(Number(clip), band);
  const inside = arrived.get(`audio/${clip}`) ?? (run.in_scripts && typeof clip === "number" ? await soundScript(clip) : null);
  return inside ? `data:audio/mpeg;base64,${inside}` : `audio/${clip}.mp3`;
}

/**
 * Show the bar at the foot of the window.
 * @param {() => Playable|null} first what the button plays while nothing has been chosen
 * @param {boolean} [bands] whether what is played has bands
 */
function showTransport(first, bands = false) {
  const bar = /** @type {HTMLElement} */ (document.getElementById("transport"));
  bar.hidden = !run.audio;
  const button = h("button", { class: "play big", type: "button", click: () => {
    const figure = player.now ?? first();
    if (figure) player.toggle(figure);
  } });
  const title = h("span", { class: "what" });
  const clock = h("span", { class: "clock" });
  const modes = MODES.map(([mode, label]) => h("button", { type: "button", "data-mode": mode, click: () => player.setMode(mode) }, label));
  const band = bands ? h("button", { type: "button", click: player.toggleBand }, "Its band alone") : null;
  bar.replaceChildren(
    button,
    h("div", { class: "now" }, title, clock),
    ...(band ? [h("div", { class: "segments one" }, band)] : []),
    h("div", { class: "segments", role: "group", "aria-label": "What is played" }, ...modes),
  );
  player.changed = () => {
    const playing = player.now !== null && !player.sound.paused;
    button.classList.toggle("on", playing);
    button.setAttribute("aria-label", playing ? "Pause" : "Play");
    title.textContent = (player.now ?? first())?.title ?? "";
    clock.textContent = player.now ? `${player.sound.currentTime.toFixed(2)} of ${seconds(player.now.duration_s)}` : "";
    modes.forEach((mode) => mode.setAttribute("aria-pressed", String(mode.dataset.mode === player.mode)));
    band?.setAttribute("aria-pressed", String(player.bandAlone));
  };
  player.changed();
}

/** @param {string} text for a screen reader */
function say(text) {
  /** @type {HTMLElement} */ (document.getElementById("said")).textContent = text;
}
