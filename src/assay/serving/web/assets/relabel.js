// The page for labels: a photo, its class with one click or key, and back again.
import { ask, json, onKey, setUpKey } from "./api.js";
import { byId, el } from "./dom.js";

let photos = [];
let at = 0;
let busy = false;
const done = []; // what was labelled, with the label before, latest last
const pictures = new Map(); // addresses of pictures by photo

async function load() {
  byId("error").textContent = "";
  try {
    const found = await json("relabel/photos");
    photos = found.photos;
    at = 0;
    byId("where").textContent = found.labels ?? "";
    byId("classes").replaceChildren(...found.classes.map(button));
    byId("state").textContent = found.labels
      ? `${photos.length} photos: ${count("uncertain")} uncertain, ${count("suspect")} suspects`
      : "Nothing is kept to be labelled: start the server with --keep-uncertain FOLDER or --suspects FILE.";
    byId("work").hidden = !photos.length;
    if (photos.length) forward();
  } catch (error) {
    byId("state").textContent = "";
    byId("error").textContent = error.message;
  }
}

const count = (kind) => photos.filter((one) => one.kind === kind).length;

function button(name, place) {
  const key = place < 9 ? String(place + 1) : null;
  const made = el("button", { textContent: `${name} ` }, ...(key ? [el("kbd", { textContent: key })] : []));
  made.dataset.label = name;
  if (key) made.setAttribute("aria-keyshortcuts", key);
  made.addEventListener("click", () => give(name));
  return made;
}

// Go to the next photo, from here on, that nobody has labelled.
function forward() {
  while (at < photos.length && photos[at].given !== null) at += 1;
  show();
}

async function show() {
  const given = photos.filter((one) => one.given !== null).length;
  byId("progress").textContent = `${given} of ${photos.length} labelled`;
  byId("undo").disabled = !done.length;
  const photo = photos[at];
  const over = photo === undefined;
  byId("skip").disabled = over;
  for (const one of byId("classes").children) {
    one.disabled = over;
    one.classList.toggle("guess", !over && one.dataset.label === photo.label);
  }
  byId("question").textContent = over ? "That was the last one" : "What is it?";
  byId("picture").hidden = over;
  byId("told").textContent = over ? "" : describe(photo);
  if (over) return;
  byId("picture").alt = `A photo taken for ${photo.label}`;
  try {
    const address = await picture(photo);
    if (photos[at] === photo) byId("picture").src = address;
    const next = photos.slice(at + 1).find((one) => one.given === null);
    if (next) await picture(next);
  } catch (error) {
    byId("error").textContent = error.message;
  }
}

function describe({ kind, label, note }) {
  return kind === "uncertain" ? `The server said ${label}, ${note}.` : `Labelled ${label}. ${note}`;
}

async function picture(photo) {
  if (!pictures.has(photo.id)) {
    const blob = await (await ask(`relabel/photos/${photo.id}`)).blob();
    pictures.set(photo.id, URL.createObjectURL(blob));
  }
  return pictures.get(photo.id);
}

const write = (photo, label) => ask(`relabel/labels/${photo.id}`, label === null
  ? { method: "DELETE" }
  : { method: "PUT", body: JSON.stringify({ label }), headers: { "Content-Type": "application/json" } });

// One label at a time, whatever is clicked meanwhile.
async function once(work) {
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

const give = (label) => once(async () => {
  const photo = photos[at];
  if (!photo) return;
  await write(photo, label);
  done.push({ place: at, before: photo.given });
  photo.given = label;
  forward();
});

const undo = () => once(async () => {
  const last = done.at(-1);
  if (!last) return;
  await write(photos[last.place], last.before);
  done.pop();
  photos[last.place].given = last.before;
  at = last.place;
  show();
});

function skip() {
  if (busy || at >= photos.length) return;
  at += 1;
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
