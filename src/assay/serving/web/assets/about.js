// Health of the server, properties of the selected model, and its model card.
import { ask, json, model } from "./api.js";
import { byId, el } from "./dom.js";
import { markdown } from "./markdown.js";

const MAX_CLASSES = 30;

export async function checkHealth() {
  const start = performance.now();
  byId("about-error").textContent = "";
  try {
    const { status, service } = await json("health");
    const elapsed = `${Math.round(performance.now() - start)} ms`;
    const ready = await json("ready").then((answer) => answer.status, (error) => error.message);
    const facts = { Service: service, Status: status, Ready: ready, "Response time": elapsed };
    showFacts(facts);
    await loadModels();
    const used = model.all.find(({ name }) => name === model.chosen);
    showFacts({ ...facts, ...modelFacts(used) });
    byId("card").replaceChildren(...markdown(await (await ask(`web/card?${new URLSearchParams({ model: used.name })}`)).text()));
  } catch (error) {
    byId("about-error").textContent = error.message;
  }
}

function modelFacts(used) {
  return {
    Model: `${used.name}, version ${used.version}`,
    Classes: shortList(used.classes),
    Engine: `${used.engine}, ${used.precision}`,
    "Accepted photos": `${used.formats.join(", ")}; up to ${Math.floor(used.max_bytes / 2 ** 20)} MB, ${used.max_side} pixels per side`,
    "Can abstain": used.abstains ? "yes" : "no",
  };
}

// Names on one line; a long list is cut off, followed by the number of names left out.
function shortList(names) {
  const more = names.length > MAX_CLASSES ? ` and ${names.length - MAX_CLASSES} more` : "";
  return names.slice(0, MAX_CLASSES).join(", ") + more;
}

function showFacts(facts) {
  const rows = Object.entries(facts).flatMap(([name, value]) => [el("dt", { textContent: name }), el("dd", { textContent: value })]);
  byId("health").replaceChildren(...rows);
}

export async function loadModels() {
  model.all = (await json("models")).models;
  if (!model.all.some(({ name }) => name === model.chosen)) model.chosen = model.all[0].name;
  const options = model.all.map(({ name }) => el("option", { textContent: name, selected: name === model.chosen }));
  byId("model").replaceChildren(...options);
  byId("model-choice").hidden = model.all.length < 2;
  restrictFormats();
}

const ACCEPT = {
  jpeg: ".jpg,.jpeg,image/jpeg",
  png: ".png,image/png",
  webp: ".webp,image/webp",
  tiff: ".tif,.tiff,image/tiff",
  bmp: ".bmp,image/bmp",
  gif: ".gif,image/gif",
  avif: ".avif,image/avif",
  jpeg2000: ".jp2,.j2k,image/jp2",
  ppm: ".ppm,.pgm,.pbm,.pnm,.pfm",
};

// Restrict the file dialogs to the formats that the selected model accepts.
export function restrictFormats() {
  const used = model.all.find(({ name }) => name === model.chosen);
  const accept = used.formats.map((name) => ACCEPT[name] ?? `.${name}`).join(",");
  byId("photo-file").accept = byId("batch-file").accept = accept;
}
