"use strict";
// Spectrograms and curves on canvases. Colours come from the style sheet, so that light and dark are said once.

/** @param {string} name of a custom property */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/**
 * The 16 colours of a spectrogram, quiet to loud: between the stops of --spectrogram.
 * @returns {Uint8ClampedArray} 16 x (red, green, blue)
 */
function spectrogramColours() {
  const stops = colour("--spectrogram").split(/\s+/).map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const colours = new Uint8ClampedArray(48);
  for (let level = 0; level < 16; level++) {
    const place = (level / 15) * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    for (let part = 0; part < 3; part++) {
      colours[3 * level + part] = stops[low][part] + (place - low) * (stops[low + 1][part] - stops[low][part]);
    }
  }
  return colours;
}

/**
 * A spectrogram as a picture of one pixel a cell, high bands on top.
 * @param {{mel: string, bands: number}} data a hexadecimal digit a cell, lowest band first
 * @returns {HTMLCanvasElement}
 */
function melPicture(data) {
  const width = data.mel.length / data.bands;
  const picture = document.createElement("canvas");
  picture.width = width;
  picture.height = data.bands;
  const context = /** @type {CanvasRenderingContext2D} */ (picture.getContext("2d"));
  const image = context.createImageData(width, data.bands);
  const colours = spectrogramColours();
  for (let cell = 0; cell < data.mel.length; cell++) {
    const code = data.mel.charCodeAt(cell);
    const level = code < 58 ? code - 48 : code - 87;
    const at = 4 * ((data.bands - 1 - Math.floor(cell / width)) * width + (cell % width));
    image.data[at] = colours[3 * level];
    image.data[at + 1] = colours[3 * level + 1];
    image.data[at + 2] = colours[3 * level + 2];
    image.data[at + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return picture;
}

/**
 * Make a canvas as sharp as the screen and return its context, scaled to CSS pixels.
 * @param {HTMLCanvasElement} canvas
 * @returns {{context: CanvasRenderingContext2D, width: number, height: number}}
 */
function sharp(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.scale(ratio, ratio);
  return { context, width, height };
}

/**
 * An activation curve.
 * @typedef {Object} Curve
 * @property {number} start_s where its first step begins, from the clip's start
 * @property {number} step_s
 * @property {number} peak what 255 stands for
 * @property {Uint8Array} values
 */

/**
 * @param {[number, number, number, string]|null} packed
 * @returns {Curve|null}
 */
function curveOf(packed) {
  if (!packed) return null;
  const [start_s, step_s, peak, values] = packed;
  return { start_s, step_s, peak, values: bytesOf(values) };
}

/**
 * Draw a curve as a filled area over a picture of the whole clip.
 * @param {CanvasRenderingContext2D} context
 * @param {Curve} curve
 * @param {{width: number, height: number, duration_s: number, most: number}} frame `most` is drawn at full height
 */
function drawCurve(context, curve, { width, height, duration_s, most }) {
  const x = (/** @type {number} */ step) => ((curve.start_s + (step + 0.5) * curve.step_s) / duration_s) * width;
  const scale = (curve.peak / (most || 1) / 255) * (height - 3);
  const line = new Path2D();
  curve.values.forEach((value, step) => line[step ? "lineTo" : "moveTo"](x(step), height - value * scale));
  const area = new Path2D(line);
  area.lineTo(x(curve.values.length - 1), height);
  area.lineTo(x(0), height);
  context.fillStyle = colour("--curve-fill");
  context.fill(area);
  context.lineJoin = "round";
  for (const [name, wide] of /** @type {[string, number][]} */ ([["--halo", 4.5], ["--curve", 1.9]])) {
    context.strokeStyle = colour(name);
    context.lineWidth = wide;
    context.stroke(line);
  }
}

/**
 * The stretches in which a curve is above zero, a little widened, short gaps closed.
 * @param {Curve|null} curve
 * @param {number} duration_s
 * @returns {[number, number][]} start and stop in seconds
 */
function firingStretches(curve, duration_s) {
  /** @type {[number, number][]} */
  const stretches = [];
  if (!curve) return stretches;
  curve.values.forEach((value, step) => {
    if (!value) return;
    const start = Math.max(0, curve.start_s + step * curve.step_s - 0.03);
    const stop = Math.min(duration_s, curve.start_s + (step + 1) * curve.step_s + 0.03);
    const last = stretches[stretches.length - 1];
    if (last && start - last[1] < 0.06) last[1] = stop;
    else stretches.push([start, stop]);
  });
  return stretches;
}

/** @type {Set<() => void>} What is on the page and must be drawn anew when its size or the colours change. */
const drawings = new Set();

/**
 * Draw a canvas as soon as it stands on the page, and again whenever that is needed.
 * @param {HTMLCanvasElement} canvas
 * @param {() => void} draw
 */
function keepDrawn(canvas, draw) {
  const whole = () => {
    if (!canvas.isConnected) return void drawings.delete(whole);
    draw();
    canvas.dataset.drawn = "";
  };
  drawings.add(whole);
  if (canvas.isConnected) whole();
}

/** Draw everything anew; what has left the page is forgotten. */
function redraw() {
  drawings.forEach((draw) => draw());
}

window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
let lastWidth = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth === lastWidth) return;
  lastWidth = window.innerWidth;
  requestAnimationFrame(redraw);
});
