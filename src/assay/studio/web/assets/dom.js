// DOM helpers and texts. Text is only ever set as textContent; HTML of the studio itself is parsed in one place.
import { texts, unsafe } from "./text.js";

export const byId = (id) => document.getElementById(id);

const SHOWN = ["textContent", "ariaLabel", "title", "alt", "placeholder"];
const SHORT = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };

// A text from outside (a name, an error) whose control and invisible characters can be seen, such as \u202e.
export const visible = (text) => String(text).replace(unsafe, (letter) => {
  const digits = letter.codePointAt(0).toString(16);
  const [mark, length] = digits.length < 3 ? ["x", 2] : digits.length < 5 ? ["u", 4] : ["U", 8];
  return SHORT[letter] ?? `\\${mark}${digits.padStart(length, "0")}`;
});

export function el(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  for (const name of SHOWN) if (name in properties) element[name] = visible(properties[name]);
  element.append(...children.map((child) => (typeof child === "string" ? visible(child) : child)));
  return element;
}

// A text with its placeholders filled in: {count} is a value, {count|photo|photos} the form for 1 or for other numbers.
export const t = (key, values = {}) =>
  texts[key].replace(/\{(\w+)(?:\|([^|}]*)\|([^|}]*))?\}/g, (whole, name, one, many) => {
    if (!(name in values)) return whole;
    if (one !== undefined) return values[name] === 1 ? one : many;
    return typeof values[name] === "number" ? formatNumber(values[name]) : visible(values[name]);
  });

export const formatNumber = (number) => number.toLocaleString(document.documentElement.lang);

export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;

export const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// The project of this page: the studio refuses requests for another one.
const project = () => (document.body.dataset.project ? { "X-Assay-Project": document.body.dataset.project } : {});

const policy = window.trustedTypes?.createPolicy("assay-fragment", { createHTML: (html) => html })
  ?? { createHTML: (html) => html };

// Fetch a part of a page from the studio, whose templates escape every name, as nodes.
export async function fetchFragment(address) {
  const response = await fetch(address, { headers: { Accept: "text/html", ...project() } });
  if (!response.ok) throw new Error((await response.json()).error);
  const html = await response.text();
  return { html, nodes: [...new DOMParser().parseFromString(policy.createHTML(html), "text/html").body.childNodes] };
}

// Call the studio; errors have the sentence of its answer and its status.
export async function call(address, { body, method = "POST", raw } = {}) {
  let response;
  try {
    response = await fetch(address, raw !== undefined
      ? { method, body: raw, headers: { "Content-Type": "application/octet-stream", ...project() } }
      : { method, body: body === undefined ? undefined : JSON.stringify(body),
        headers: body === undefined ? project() : { "Content-Type": "application/json", ...project() } });
  } catch {
    throw new Error(t("error_network"));
  }
  const answer = await response.json().catch(() => ({ error: response.statusText }));
  if (!response.ok) throw Object.assign(new Error(answer.error), { status: response.status });
  return answer;
}

// The name of the folder that a path is in; empty if there is none.
export const folderOf = (path) => path.split("/").at(-2) ?? "";

// Pass files and folders that are dropped on an element to `take`; files have the name of their `folder`.
export function onDrop(zone, take) {
  zone.addEventListener("dragover", (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", async (event) => {
    event.preventDefault();
    event.stopPropagation(); // a zone may lie in another one
    zone.classList.remove("over");
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = entries.length ? (await Promise.all(entries.map(filesIn))).flat() : [...event.dataTransfer.files];
    if (files.length) take(files);
  });
}

async function filesIn(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [Object.assign(file, { folder: folderOf(entry.fullPath) })];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!batch.length) return found;
    for (const child of batch) found.push(...await filesIn(child));
  }
}
