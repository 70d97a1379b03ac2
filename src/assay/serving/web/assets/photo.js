// Classify one photo that is chosen, dropped, pasted or taken; show its heat map on request.
import { showAnswer, showBars } from "./answer.js";
import { classify } from "./api.js";
import { Camera } from "./camera.js";
import { byId, el, onDrop } from "./dom.js";
import { addToHistory } from "./history.js";
import { View } from "./view.js";

let photo = null;
let address = null;
let heat = null;
let outline = () => {}; // outlines the area that the model sees
let request = null;
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
  byId("camera-take").addEventListener("click", async () => { const file = await camera.take(); closeCamera(); choose(file); });
  view.shown.addEventListener("error", () => {
    view.frame.hidden = true;
    view.caption.textContent = "Your browser cannot display this file.";
  });
}

function choose(file) {
  request?.abort();
  photo = file;
  clearResult();
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(file);
  view.open(file.name);
  show(address, `Photo ${file.name}`);
  byId("classify").disabled = false;
  if (byId("at-once").checked) answer();
}

function clearResult() {
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
  const current = photo;
  clearResult();
  view.open(current.name);
  show(address, `Photo ${current.name}`);
  byId("photo-answer").textContent = "Classifying…";
  const result = await attempt(() => classify(current, { signal: request.signal }));
  if (current !== photo) return;
  byId("photo-answer").textContent = "";
  if (!result) return;
  showAnswer(byId("photo-answer"), result);
  showBars(byId("photo-bars"), result.probabilities);
  outline = () => result.crop_box && view.outline(result.crop_box, result.size);
  outline();
  byId("heat").hidden = false;
  setHeatShown(false);
  addToHistory(current, result);
}

// Run a request and show its error, unless another photo was chosen meanwhile.
async function attempt(work) {
  request?.abort();
  request = new AbortController();
  const current = photo;
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError" && current === photo) byId("photo-error").textContent = `${current.name}: ${error.message}`;
    return null;
  }
}

async function toggleHeat() {
  const current = photo;
  if (byId("heat").getAttribute("aria-pressed") === "true") {
    view.open(current.name);
    show(address, `Photo ${current.name}`);
    outline();
    setHeatShown(false);
    return;
  }
  byId("photo-error").textContent = "";
  heat ??= (await attempt(() => classify(current, { explain: true, signal: request.signal })))?.heat_map ?? null;
  if (!heat || current !== photo) return;
  show(`data:image/png;base64,${heat}`, `Photo ${current.name} with its heat map`);
  view.frame.hidden = false;
  view.box.hidden = true;
  view.caption.textContent = "Brighter areas contribute more to the prediction; the outline marks values of at least half the maximum.";
  setHeatShown(true);
}

function setHeatShown(on) {
  byId("heat").setAttribute("aria-pressed", String(on));
  byId("heat").textContent = on ? "Show photo" : "Show heat map";
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
