"use strict";
// One frequency band of a clip alone: its MP3, decoded, filtered, and handed to the player as a WAV.

/** Seconds of the filter: it falls from 1 to nothing within some 50 Hz. */
const KERNEL_S = 0.064;
/** A band that is weaker than the clip is made louder, so that it can be heard, but not more than so many times. */
const LOUDER = 8;

/**
 * The taps of a filter that passes a band: two windowed sincs, one less the other (linear phase, an odd number of taps).
 * @param {number} low_hz @param {number} high_hz @param {number} rate
 * @returns {Float32Array<ArrayBuffer>}
 */
function bandKernel(low_hz, high_hz, rate) {
  const half = Math.round((KERNEL_S * rate) / 2);
  const sinc = (/** @type {number} */ hz, /** @type {number} */ i) => (i ? Math.sin((2 * Math.PI * hz * i) / rate) / (Math.PI * i) : (2 * hz) / rate);
  const kernel = new Float32Array(2 * half + 1);
  for (let i = -half; i <= half; i++) {
    const hamming = 0.54 + 0.46 * Math.cos((Math.PI * i) / half);
    kernel[half + i] = hamming * (sinc(Math.min(high_hz, rate / 2), i) - sinc(low_hz, i));
  }
  return kernel;
}

/**
 * Decode an MP3 and leave a band of it.
 * @param {Uint8Array<ArrayBuffer>} mp3 @param {[number, number]} band from and to, in Hz @param {number} rate of the MP3
 * @returns {Promise<Float32Array>} as many samples as the clip has
 */
async function onlyBand(mp3, [low_hz, high_hz], rate) {
  const clip = await new OfflineAudioContext(1, 1, rate).decodeAudioData(mp3.buffer);
  const kernel = bandKernel(low_hz, high_hz, rate);
  const context = new OfflineAudioContext(1, clip.length + kernel.length - 1, rate);
  const source = new AudioBufferSourceNode(context, { buffer: clip });
  const taps = context.createBuffer(1, kernel.length, rate);
  taps.copyToChannel(kernel, 0);
  source.connect(new ConvolverNode(context, { buffer: taps, disableNormalization: true })).connect(context.destination);
  source.start();
  const whole = (await context.startRendering()).getChannelData(0);
  const own = whole.subarray((kernel.length - 1) / 2).subarray(0, clip.length);
  const peak = (/** @type {Float32Array} */ wave) => wave.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const gain = Math.min(LOUDER, peak(clip.getChannelData(0)) / (peak(own) || 1));
  return own.map((value) => value * gain);
}

/**
 * @param {Float32Array} wave in -1..1 @param {number} rate
 * @returns {Promise<string>} the address of a WAV file that holds itself
 */
function wavUrl(wave, rate) {
  const file = new DataView(new ArrayBuffer(44 + 2 * wave.length));
  const write = (/** @type {number} */ at, /** @type {string} */ text) => [...text].forEach((letter, i) => file.setUint8(at + i, letter.charCodeAt(0)));
  write(0, "RIFF");
  file.setUint32(4, 36 + 2 * wave.length, true);
  write(8, "WAVEfmt ");
  file.setUint32(16, 16, true); // bytes of what follows, up to "data"
  file.setUint16(20, 1, true); // integers
  file.setUint16(22, 1, true); // mono
  file.setUint32(24, rate, true);
  file.setUint32(28, 2 * rate, true); // bytes a second
  file.setUint16(32, 2, true); // bytes a sample
  file.setUint16(34, 16, true); // bits a sample
  write(36, "data");
  file.setUint32(40, 2 * wave.length, true);
  wave.forEach((value, i) => file.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, value))), true));
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(/** @type {string} */ (reader.result));
    reader.readAsDataURL(new Blob([file], { type: "audio/wav" }));
  });
}

/** @type {{of: string, url: Promise<string>}} The band that was heard last. */
let lastBand = { of: "", url: Promise.resolve("") };

/**
 * The address of one band of a clip's sound.
 * @param {number} clip its number @param {[number, number]} band
 */
function bandUrl(clip, band) {
  const of = `${clip} ${band}`;
  if (lastBand.of !== of) {
    const make = async () => {
      const rate = 2 * (await load("clips")).top_hz[clip];
      return wavUrl(await onlyBand(bytesOf(await soundScript(clip)), band, rate), rate);
    };
    lastBand = { of, url: make() };
  }
  return lastBand.url;
}

/**
 * How high a frequency stands in a spectrogram, whose bands are equally far apart in mel from 40 Hz.
 * @param {number} hz @param {number} top_hz where the highest band ends @param {number} bands
 * @returns {number} 0 to 1, from its foot
 */
function heightOf(hz, top_hz, bands) {
  const mel = (/** @type {number} */ f) => Math.log(1 + f / 700);
  const place = ((bands + 1) * (mel(hz) - mel(40))) / (mel(top_hz) - mel(40));
  return Math.max(0, Math.min(1, (place - 0.5) / bands));
}

/** @param {[number, number]} band in Hz */
function bandName([low_hz, high_hz]) {
  return `${Math.round(low_hz).toLocaleString("en")} to ${Math.round(high_hz).toLocaleString("en")} Hz`;
}
