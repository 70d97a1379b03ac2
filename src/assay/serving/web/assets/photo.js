// One photo: chosen, dropped, pasted or taken; its answer; the heat map on demand.
import { showAnswer, showBars } from "./answer.js";
import { classify } from "./api.js";
import { Camera } from "./camera.js";
import { byId, el, onDrop } from "./dom.js";
import { remember } from "./history.js";
import { View } from "./view.js";

let photo = null;
let address = null;
let heat = null;
let looked = () => {}; // outlines what the model looked at
let asking = null;
const view = new View(byId("photo-view"), el("img", { alt: "" }));
const camera = new Camera(byId("camera-video"));

export function setUpPhoto() {
  const input = byId("photo-file");
  input.addEventListener("change", () => { if (input.files.length) choose(input.files[0]); input.value = ""; });
  onDrop(byId("photo-drop"), ([first]) => choose(first));
  document.addEventListener("paste", (event) => {
    const [first] = event.clipboardData.files;
    if (first && !byId("photo").hidden) choose(first);
  });
  byId("classify").addEventListener("click", answer);
  byId("heat").addEventListener("click", toggleHeat);
  byId("camera-open").addEventListener("click", openCamera);
  byId("camera-close").addEventListener("click", closeCamera);
  byId("camera-take").addEventListener("click", async () => { const taken = await camera.take(); closeCamera(); choose(taken); });
  view.shown.addEventListener("error", () => {
    view.frame.hidden = true;
    view.caption.textContent = "The browser cannot show this file.";
  });
}

function choose(file) {
  asking?.abort();
  photo = file;
  forget();
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(file);
  view.open(file.name);
  show(address, `The photo ${file.name}`);
  byId("classify").disabled = false;
  if (byId("at-once").checked) answer();
}

function forget() {
  heat = null;
  byId("heat").hidden = true;
  byId("photo-error").textContent = "";
  byId("photo-answer").replaceChildren();
  byId("photo-bars").replaceChildren();
}

function show(source, alt) {
  view.shown.src = source;
  view.shown.alt = alt;
}

async function answer() {
  const asked = photo;
  forget();
  view.open(asked.name);
  show(address, `The photo ${asked.name}`);
  byId("photo-answer").textContent = "Looking…";
  const found = await attempt(() => classify(asked, { signal: asking.signal }));
  if (asked !== photo) return;
  byId("photo-answer").textContent = "";
  if (!found) return;
  showAnswer(byId("photo-answer"), found);
  showBars(byId("photo-bars"), found.probabilities);
  looked = () => found.crop_box && view.outline(found.crop_box, found.size);
  looked();
  byId("heat").hidden = false;
  pressed(false);
  remember(asked, found);
}

// Do what may be refused, and say so in its place.
async function attempt(work) {
  asking?.abort();
  asking = new AbortController();
  const asked = photo;
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError" && asked === photo) byId("photo-error").textContent = `${asked.name}: ${error.message}`;
    return null;
  }
}

async function toggleHeat() {
  const asked = photo;
  if (byId("heat").getAttribute("aria-pressed") === "true") {
    view.open(asked.name);
    show(address, `The photo ${asked.name}`);
    looked();
    pressed(false);
    return;
  }
  byId("photo-error").textContent = "";
  heat ??= (await attempt(() => classify(asked, { explain: true, signal: asking.signal })))?.heat_map ?? null;
  if (!heat || asked !== photo) return;
  show(`data:image/png;base64,${heat}`, `The photo ${asked.name}; what speaks for the answer is bright`);
  view.frame.hidden = false;
  view.box.hidden = true;
  view.caption.textContent = "The brighter, the more it speaks for the answer; the line goes around what has half of the most.";
  pressed(true);
}

function pressed(on) {
  byId("heat").setAttribute("aria-pressed", String(on));
  byId("heat").textContent = on ? "Show the photo again" : "Show what speaks for it";
}

async function openCamera() {
  byId("photo-error").textContent = "";
  try {
    await camera.open();
    byId("camera").hidden = false;
    byId("camera-take").focus();
  } catch (error) {
    byId("photo-error").textContent = error.message;
  }
}

export function closeCamera() {
  camera.close();
  if (!byId("camera").hidden) byId("camera-open").focus();
  byId("camera").hidden = true;
}
