// Entry point of the classification page.
import { checkHealth, loadModels, restrictFormats } from "./about.js";
import { json, model, onKey, setUpKey } from "./api.js";
import { byId } from "./dom.js";
import { loadExamples } from "./examples.js";
import { setUpHistory } from "./history.js";
import { setUpLive, stopLive } from "./live.js";
import { setUpBatch } from "./batch.js";
import { closeCamera, setUpPhoto } from "./photo.js";
import { setUpTabs } from "./tabs.js";

const onLeave = { photo: closeCamera, live: stopLive };
const onEnter = { about: checkHealth };

async function connect() {
  try {
    const { service } = await json("health");
    document.title = byId("title").textContent = service;
    await loadModels();
    byId("state").textContent = `Ready: ${model.all[0].classes.length} classes`;
    await loadExamples();
  } catch (error) {
    byId("state").textContent = error.message;
  }
}

setUpKey();
setUpTabs((old) => onLeave[old]?.(), (current) => onEnter[current]?.());
setUpPhoto();
setUpLive();
setUpBatch();
setUpHistory();
onKey(connect);
byId("model").addEventListener("change", () => { model.chosen = byId("model").value; restrictFormats(); });
byId("health-check").addEventListener("click", checkHealth);
connect();
