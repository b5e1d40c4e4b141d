"use strict";
// Data comes as scripts, since a page opened from disk may load nothing else. Each calls put() with gzipped JSON.

/** @type {Map<string, string>} What has come and was not opened yet: name -> base64. */
const arrived = new Map();
/** @type {Map<string, Promise<any>>} */
const opened = new Map();

/** Only scripts below data/ are ever added to the page. */
const trustedTypes = /** @type {any} */ (window).trustedTypes;
const shardUrls = trustedTypes ? trustedTypes.createPolicy("shards", { createScriptURL: checkedUrl }) : { createScriptURL: checkedUrl };

/**
 * @param {string} url
 * @returns {string}
 */
function checkedUrl(url) {
  if (!/^data\/[a-z0-9/-]+\.js$/.test(url)) throw new TypeError(`not a shard: ${url}`);
  return url;
}

/**
 * What every shard calls.
 * @param {string} name
 * @param {string} packed gzipped JSON in base64
 */
function put(name, packed) {
  arrived.set(name, packed);
}

/**
 * Load a shard, once.
 * @param {string} name such as "d0/table"
 * @returns {Promise<any>}
 */
function load(name) {
  let found = opened.get(name);
  if (!found) {
    found = fetchShard(name).then(unpack);
    opened.set(name, found);
  }
  return found;
}

/**
 * @param {string} name
 * @returns {Promise<string>}
 */
function fetchShard(name) {
  return new Promise((resolve, reject) => {
    const take = () => {
      const packed = arrived.get(name);
      arrived.delete(name);
      if (packed === undefined) reject(new Error(`data/${name}.js does not hold what it should`));
      else resolve(packed);
    };
    if (arrived.has(name)) return take();
    const script = document.createElement("script");
    script.src = shardUrls.createScriptURL(`data/${name}.js`);
    script.onload = () => (script.remove(), take());
    script.onerror = () => (script.remove(), reject(new Error(`data/${name}.js is missing from the folder`)));
    document.head.append(script);
  });
}

/**
 * A sound that lies in a script, which stays at hand.
 * @param {number|string} clip
 * @returns {Promise<string>} its MP3 in base64
 */
async function soundScript(clip) {
  const name = `audio/${clip}`;
  if (!arrived.has(name)) arrived.set(name, await fetchShard(name));
  return /** @type {string} */ (arrived.get(name));
}

/**
 * @param {string} packed
 * @returns {Promise<any>}
 */
async function unpack(packed) {
  const stream = new Blob([bytesOf(packed)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/**
 * @param {string} base64
 * @returns {Uint8Array<ArrayBuffer>}
 */
function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}
