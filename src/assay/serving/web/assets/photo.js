// Classify one photo that is chosen, dropped, pasted, taken or an example; show its heat map beside the answer.
import { showAnswer, showBars } from "./answer.js";
import { classify } from "./api.js";
import { Camera } from "./camera.js";
import { byId, el, onDrop } from "./dom.js";
import { addToHistory } from "./history.js";
import { View } from "./view.js";

let photo = null;
let address = null;
let request = null;
let answered = false;
const view = new View(byId("photo-view"), el("img", { alt: "" }));
const heatView = new View(byId("heat-view"), el("img", { alt: "" }));
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
  byId("explain").addEventListener("change", () => (byId("explain").checked ? explain() : heatView.close()));
  byId("camera-open").addEventListener("click", openCamera);
  byId("camera-close").addEventListener("click", closeCamera);
  byId("camera-take").addEventListener("click", async () => { const file = await camera.take(); closeCamera(); choose(file); });
  view.shown.addEventListener("error", () => {
    view.frame.hidden = true;
    view.caption.textContent = "Your browser cannot display this file.";
  });
}

export function choose(file) {
  request?.abort();
  photo = file;
  answered = false;
  clearResult();
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(file);
  view.open(file.name);
  Object.assign(view.shown, { src: address, alt: `Photo ${file.name}` });
  byId("classify").disabled = false;
  if (byId("at-once").checked) answer();
}

function clearResult() {
  heatView.close();
  byId("photo-error").textContent = "";
  byId("photo-answer").replaceChildren();
  byId("photo-bars").replaceChildren();
}

async function answer() {
  const current = photo;
  clearResult();
  view.open(current.name);
  byId("photo-answer").textContent = "Classifying…";
  const result = await attempt(() => classify(current, { signal: request.signal }));
  if (current !== photo) return;
  byId("photo-answer").textContent = "";
  if (!result) return;
  showAnswer(byId("photo-answer"), result);
  showBars(byId("photo-bars"), result.probabilities);
  if (result.crop_box) view.outline(result.crop_box, result.size);
  answered = true;
  addToHistory(current, result);
  await explain();
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

// Show the heat map of the photo, which takes longer than its answer, or why there is none.
async function explain() {
  if (!answered || !byId("explain").checked) return;
  const current = photo;
  const none = (error) => {
    if (error.status !== 422) throw error;
    return { problem: error.message };
  };
  const result = await attempt(() => classify(current, { explain: true, signal: request.signal }).catch(none));
  if (!result || current !== photo || !byId("explain").checked) return;
  heatView.open(result.problem ?? "Heat map: brighter areas contribute more to the answer; the outline marks values of at least half the maximum.");
  heatView.frame.hidden = !result.heat_map;
  if (result.heat_map) Object.assign(heatView.shown, { src: `data:image/png;base64,${result.heat_map}`, alt: `Heat map of ${current.name}` });
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
