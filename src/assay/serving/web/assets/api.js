// The server's API, as any client uses it: the same addresses, keys and limits.
import { byId } from "./dom.js";

const STORE = "assay-key";
const heard = [];

export class Refused extends Error {
  constructor(status, text, seconds) {
    super(text);
    this.status = status;
    this.seconds = seconds; // after which to try again, where the server tells
  }
}

export const onKey = (told) => heard.push(told);

export function setUpKey() {
  byId("key").value = sessionStorage.getItem(STORE) ?? "";
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(STORE, byId("key").value.trim());
    heard.forEach((told) => told());
  });
}

export async function ask(path, options = {}) {
  const key = sessionStorage.getItem(STORE);
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server cannot be reached; try again in a moment.");
  }
  if (answer.ok) return answer;
  throw await refusal(answer, key);
}

async function refusal(answer, key) {
  let text = `The server answered with ${answer.status}`;
  try {
    text = (await answer.json()).error ?? text;
  } catch {
    // A proxy in between speaks no JSON; its status is all there is to tell.
  }
  const seconds = Number(answer.headers.get("retry-after")) || undefined;
  if (answer.status === 401) {
    byId("key-box").open = true;
    text = key
      ? "This key is not taken, or no longer: enter another above, under Key."
      : "This server asks for a key: enter it above, under Key.";
  } else if (answer.status === 429) {
    text = `Too many photos for this key${seconds ? `; try again in ${seconds} s` : ""}.`;
  }
  return new Refused(answer.status, text, seconds);
}

export const json = async (path, options) => (await ask(path, options)).json();

export const model = { chosen: null, all: [] };

export async function classify(photo, { explain = false, signal } = {}) {
  const known = model.all.find((one) => one.name === model.chosen);
  if (known && photo.size > known.max_bytes) {
    const most = Math.floor(known.max_bytes / 2 ** 20);
    throw new Refused(400, `The photo has ${Math.ceil(photo.size / 2 ** 20)} MB; this server takes up to ${most} MB`);
  }
  const query = new URLSearchParams({ detail: "1" });
  if (explain) query.set("explain", "1");
  if (model.chosen !== null) query.set("model", model.chosen);
  const body = new FormData();
  body.append("image", photo, photo.name ?? "photo.jpg");
  return json(`classify?${query}`, { method: "POST", body, signal });
}
