// How the server is, which model answers, and its card.
import { ask, json, model } from "./api.js";
import { byId, el } from "./dom.js";
import { markdown } from "./markdown.js";

const MOST_CLASSES = 30;

export async function checkHealth() {
  const began = performance.now();
  byId("about-error").textContent = "";
  try {
    const { status, service } = await json("health");
    const took = `${Math.round(performance.now() - began)} ms`;
    const ready = await json("ready").then((told) => told.status, (error) => error.message);
    const facts = { Service: service, Status: status, Ready: ready, "Answered in": took };
    showFacts(facts);
    await loadModels();
    const used = model.all.find((one) => one.name === model.chosen);
    showFacts({ ...facts, ...told(used) });
    byId("card").replaceChildren(...markdown(await (await ask(`web/card?${new URLSearchParams({ model: used.name })}`)).text()));
  } catch (error) {
    byId("about-error").textContent = error.message;
  }
}

function told(used) {
  return {
    Model: `${used.name}, version ${used.version}`,
    Classes: listed(used.classes),
    "Runs on": `${used.engine}, ${used.precision}`,
    Photos: `${used.formats.join(", ")}; up to ${Math.floor(used.max_bytes / 2 ** 20)} MB and ${used.max_side} pixels a side`,
    "Says unknown": used.abstains ? "yes" : "no",
  };
}

// Names in one line; of many, the first and how many more there are.
function listed(names) {
  const more = names.length > MOST_CLASSES ? ` and ${names.length - MOST_CLASSES} more` : "";
  return names.slice(0, MOST_CLASSES).join(", ") + more;
}

function showFacts(facts) {
  const rows = Object.entries(facts).flatMap(([name, value]) => [el("dt", { textContent: name }), el("dd", { textContent: value })]);
  byId("health").replaceChildren(...rows);
}

export async function loadModels() {
  model.all = (await json("models")).models;
  if (!model.all.some((one) => one.name === model.chosen)) model.chosen = model.all[0].name;
  const options = model.all.map((one) => el("option", { textContent: one.name, selected: one.name === model.chosen }));
  byId("model").replaceChildren(...options);
  byId("model-choice").hidden = model.all.length < 2;
  offerFormats();
}

const ENDINGS = {
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

// Has the browser offer the files that the chosen model takes.
export function offerFormats() {
  const used = model.all.find((one) => one.name === model.chosen);
  const accept = used.formats.map((name) => ENDINGS[name] ?? `.${name}`).join(",");
  byId("photo-file").accept = byId("many-file").accept = accept;
}
