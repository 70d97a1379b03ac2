// The labelling page: choose the class of a photo with one click or key; skip and undo.
import { ask, json, onKey, setUpKey } from "./api.js";
import { byId, counted, el } from "./dom.js";

let photos = [];
let position = 0;
let busy = false;
const undoStack = []; // labelled photos with their previous labels
const imageUrls = new Map(); // object URLs by photo id

async function load() {
  byId("error").textContent = "";
  try {
    const overview = await json("relabel/photos");
    photos = overview.photos;
    position = 0;
    byId("where").textContent = overview.labels ?? "";
    byId("classes").replaceChildren(...overview.classes.map(button));
    byId("state").textContent = overview.labels
      ? `${counted(photos.length, "photo")}: ${count("uncertain")} uncertain, ${counted(count("suspect"), "suspect")}`
      : "There are no photos to label: start the server with --keep-uncertain FOLDER or --suspects FILE.";
    byId("work").hidden = !photos.length;
    if (photos.length) forward();
  } catch (error) {
    byId("state").textContent = "";
    byId("error").textContent = error.message;
  }
}

const count = (kind) => photos.filter((photo) => photo.kind === kind).length;

function button(name, place) {
  const key = place < 9 ? String(place + 1) : null;
  const element = el("button", { textContent: `${name} ` }, ...(key ? [el("kbd", { textContent: key })] : []));
  element.dataset.label = name;
  if (key) element.setAttribute("aria-keyshortcuts", key);
  element.addEventListener("click", () => give(name));
  return element;
}

// Go to the next photo that has no label.
function forward() {
  while (position < photos.length && photos[position].given !== null) position += 1;
  show();
}

async function show() {
  const given = photos.filter((photo) => photo.given !== null).length;
  byId("progress").textContent = `${given} of ${photos.length} labelled`;
  byId("undo").disabled = !undoStack.length;
  const photo = photos[position];
  const over = photo === undefined;
  byId("skip").disabled = over;
  for (const classButton of byId("classes").children) {
    classButton.disabled = over;
    classButton.classList.toggle("guess", !over && classButton.dataset.label === photo.label);
  }
  byId("question").textContent = over ? "No more photos" : "Which class is it?";
  byId("picture").hidden = over;
  byId("photo-note").textContent = over ? "" : describe(photo);
  if (over) return;
  byId("picture").alt = `Photo of class ${photo.label}, not confirmed`;
  try {
    const address = await imageUrl(photo);
    if (photos[position] === photo) byId("picture").src = address;
    const next = photos.slice(position + 1).find((other) => other.given === null);
    if (next) await imageUrl(next);
  } catch (error) {
    byId("error").textContent = error.message;
  }
}

function describe({ kind, label, note }) {
  return kind === "uncertain" ? `Predicted ${label}, ${note}.` : `Labelled ${label}. ${note}`;
}

async function imageUrl(photo) {
  if (!imageUrls.has(photo.id)) {
    const blob = await (await ask(`relabel/photos/${photo.id}`)).blob();
    imageUrls.set(photo.id, URL.createObjectURL(blob));
  }
  return imageUrls.get(photo.id);
}

const write = (photo, label) => ask(`relabel/labels/${photo.id}`, label === null
  ? { method: "DELETE" }
  : { method: "PUT", body: JSON.stringify({ label }), headers: { "Content-Type": "application/json" } });

// Ignore clicks and keys while a label is being written.
async function exclusively(work) {
  if (busy) return;
  busy = true;
  byId("error").textContent = "";
  try {
    await work();
  } catch (error) {
    byId("error").textContent = error.message;
  } finally {
    busy = false;
  }
}

const give = (label) => exclusively(async () => {
  const photo = photos[position];
  if (!photo) return;
  await write(photo, label);
  undoStack.push({ position, before: photo.given });
  photo.given = label;
  forward();
});

const undo = () => exclusively(async () => {
  const last = undoStack.at(-1);
  if (!last) return;
  await write(photos[last.position], last.before);
  undoStack.pop();
  photos[last.position].given = last.before;
  position = last.position;
  show();
});

function skip() {
  if (busy || position >= photos.length) return;
  position += 1;
  forward();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT" || byId("work").hidden) return;
  if (event.key === "u") undo();
  else if (event.key === "s") skip();
  else if (/^[1-9]$/.test(event.key)) byId("classes").children[Number(event.key) - 1]?.click();
});
byId("undo").addEventListener("click", undo);
byId("skip").addEventListener("click", skip);
onKey(load);
setUpKey();
load();
