// Client of the server's public API.
import { byId } from "./dom.js";

const STORAGE_KEY = "assay-key";
const keyListeners = [];

export class ApiError extends Error {
  constructor(status, text, seconds) {
    super(text);
    this.status = status;
    this.seconds = seconds; // of Retry-After, where the server sends it
  }
}

export const onKey = (listener) => keyListeners.push(listener);

// Store the key of an address that ends in "#key=...", and remove it from the address. A fragment is never sent to a server.
function takeKeyOfAddress() {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (!key) return;
  sessionStorage.setItem(STORAGE_KEY, key);
  history.replaceState(history.state, "", location.pathname + location.search);
}

export function setUpKey() {
  takeKeyOfAddress();
  byId("key").value = sessionStorage.getItem(STORAGE_KEY) ?? "";
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(STORAGE_KEY, byId("key").value.trim());
    keyListeners.forEach((listener) => listener());
  });
}

export async function ask(path, options = {}) {
  const key = sessionStorage.getItem(STORAGE_KEY);
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "Cannot reach the server; try again in a moment.");
  }
  if (answer.ok) return answer;
  throw await errorOf(answer, key);
}

async function errorOf(answer, key) {
  let text = `The server responded with status ${answer.status}`;
  try {
    text = (await answer.json()).error ?? text;
  } catch {
    // A proxy may respond without JSON.
  }
  const seconds = Number(answer.headers.get("retry-after")) || undefined;
  if (answer.status === 401) {
    byId("key-box").open = true;
    text = key
      ? "This API key is not valid. Enter another one above, under API key."
      : "This server requires an API key. Enter it above, under API key.";
  } else if (answer.status === 429) {
    text = `Rate limit reached${seconds ? `; try again in ${seconds} s` : ""}.`;
  }
  return new ApiError(answer.status, text, seconds);
}

export const json = async (path, options) => (await ask(path, options)).json();

export const model = { chosen: null, all: [] };

export async function classify(photo, { explain = false, signal } = {}) {
  const known = model.all.find(({ name }) => name === model.chosen);
  if (known && photo.size > known.max_bytes) {
    const limit = Math.floor(known.max_bytes / 2 ** 20);
    throw new ApiError(400, `The photo is ${Math.ceil(photo.size / 2 ** 20)} MB; this server accepts up to ${limit} MB`);
  }
  const query = new URLSearchParams({ detail: "1" });
  if (explain) query.set("explain", "1");
  if (model.chosen !== null) query.set("model", model.chosen);
  const body = new FormData();
  body.append("image", photo, photo.name ?? "photo.jpg");
  return json(`classify?${query}`, { method: "POST", body, signal });
}
