"use strict";
// A sound of your own, where the explorer is served: the page decodes it, the server says which latents fire.

const served = "served" in document.documentElement.dataset;

/** @param {any} row of run.dictionaries */
async function ownPage(row) {
  const clips = await load("clips");
  const state = h("p", { role: "status", class: "quiet" }, "It is sent to this machine only, and not kept.");
  const file = h("input", { type: "file", accept: "audio/*", "aria-label": "A sound file", change: () => {
    if (file.files[0]) hear(file.files[0], file.files[0].name);
  } });
  const record = h("button", { type: "button", class: "plain", click: () => (recorder ? recorder.stop() : start()) }, "Record");
  /** @type {MediaRecorder|null} */
  let recorder = null;

  async function start() {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      /** @type {Blob[]} */
      const parts = [];
      recorder = new MediaRecorder(stream);
      recorder.ondataavailable = (event) => parts.push(event.data);
      recorder.onstop = () => {
        stream.getTracks().forEach((track) => track.stop());
        recorder = null;
        record.textContent = "Record";
        hear(new Blob(parts), "recording");
      };
      recorder.start();
      record.textContent = "Stop";
      state.textContent = "Recording…";
    } catch (error) {
      state.textContent = `The microphone cannot be used (${/** @type {Error} */ (error).message}).`;
    }
  }

  /** @param {Blob} sound @param {string} name */
  async function hear(sound, name) {
    state.textContent = "Listening…";
    try {
      const id = addOwnClip(row, clips, name, await ask(row, sound));
      location.hash = address(row, "clip", id);
    } catch (error) {
      state.textContent = `${/** @type {Error} */ (error).message}`;
    }
  }

  return h("div", { class: "page" },
    h("div", { class: "title" }, h("h1", { tabindex: "-1" }, "Your own sound"),
      h("p", { class: "lede" }, `Which latents of ${dictionaryName(row)} fire in it, and when; each leads to the clips of the corpus in which it fires too.`)),
    h("section", { class: "card own" }, h("div", { class: "tools" }, file, record), state));
}

/**
 * Decode a sound and send its samples.
 * @param {any} row @param {Blob} sound
 * @returns {Promise<any>}
 */
async function ask(row, sound) {
  let decoded;
  try {
    decoded = await new AudioContext().decodeAudioData(await sound.arrayBuffer());
  } catch {
    throw new Error("This browser cannot decode that file as sound.");
  }
  const mono = new Float32Array(decoded.length);
  for (let channel = 0; channel < decoded.numberOfChannels; channel++) {
    decoded.getChannelData(channel).forEach((value, at) => (mono[at] += value / decoded.numberOfChannels));
  }
  const answer = await fetch("own", { method: "POST", body: mono.buffer, headers: {
    "Content-Type": "application/octet-stream", "X-Rate": String(decoded.sampleRate), "X-Dictionary": encodeURIComponent(row.name) } });
  const found = await answer.json().catch(() => ({ error: "The server gave no answer." }));
  if (found.error) throw new Error(found.error);
  return found;
}

/**
 * Put a sound among the clips, as long as the page is open; return its id.
 * @param {any} row @param {any} clips @param {string} name @param {any} found
 */
function addOwnClip(row, clips, name, found) {
  const number = (Math.floor(clips.id.length / row.clips_a_shard) + 1) * row.clips_a_shard; // a shard of its own
  let id = `own: ${name}`;
  for (let more = 2; clips.id.includes(id); more++) id = `own: ${name} (${more})`;
  for (const [key, value] of Object.entries({ id, file: name, start_s: 0, duration_s: found.duration_s, top_hz: found.top_hz, split: "", group: "" })) clips[key][number] = value;
  opened.set(`clips/${number}`, Promise.resolve(found.mel));
  opened.set(`${row.data}/clips-${number / row.clips_a_shard}`, Promise.resolve({ [number]: { rows: found.rows, curves: found.curves } }));
  arrived.set(`audio/${number}`, found.mp3);
  return id;
}
