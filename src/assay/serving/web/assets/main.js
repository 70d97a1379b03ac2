// The page for photos, set up.
import { checkHealth, loadModels, offerFormats } from "./about.js";
import { json, model, onKey, setUpKey } from "./api.js";
import { byId } from "./dom.js";
import { setUpHistory } from "./history.js";
import { setUpLive, stopLive } from "./live.js";
import { setUpMany } from "./many.js";
import { closeCamera, setUpPhoto } from "./photo.js";
import { setUpTabs } from "./tabs.js";

const leave = { photo: closeCamera, live: stopLive };
const enter = { about: checkHealth };

async function connect() {
  try {
    const { service } = await json("health");
    document.title = byId("title").textContent = service;
    await loadModels();
    byId("state").textContent = `Ready: ${model.all[0].classes.length} classes`;
  } catch (error) {
    byId("state").textContent = error.message;
  }
}

setUpKey();
setUpTabs((old) => leave[old]?.(), (now) => enter[now]?.());
setUpPhoto();
setUpLive();
setUpMany();
setUpHistory();
onKey(connect);
byId("model").addEventListener("change", () => { model.chosen = byId("model").value; offerFormats(); });
byId("health-check").addEventListener("click", checkHealth);
connect();
