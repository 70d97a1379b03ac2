// The step Try: classify a photo that is chosen, dropped, pasted or taken; show its heat map.
import { Camera } from "./camera.js";
import { byId, call, el, onDrop, percent, t, visible } from "./dom.js";

const MAX_BARS = 10;
let photo = null;
let address = null;
let heat = null;

if (byId("file")) setUp();

function setUp() {
  const camera = new Camera(byId("video"));
  byId("file").addEventListener("change", (event) => { if (event.target.files.length) choose(event.target.files[0]); event.target.value = ""; });
  onDrop(byId("main"), ([first]) => choose(first));
  document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) choose(event.clipboardData.files[0]); });
  byId("run").addEventListener("change", () => { if (photo) classify(); });
  byId("heat").addEventListener("click", toggleHeat);
  byId("camera").addEventListener("click", async () => {
    byId("error").textContent = "";
    if (camera.stream) camera.close();
    else {
      try {
        await camera.open();
      } catch (error) {
        byId("error").textContent = error.message;
      }
    }
    byId("video").hidden = byId("shot").hidden = !camera.stream;
    byId("camera").textContent = t(camera.stream ? "camera_stop" : "camera_use");
  });
  byId("shot").addEventListener("click", async () => choose(new File([await camera.take()], "camera.jpg", { type: "image/jpeg" })));
}

function choose(file) {
  photo = file;
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(file);
  show(address, file.name);
  byId("caption").textContent = visible(file.name);
  classify();
}

function show(source, alt) {
  Object.assign(byId("photo"), { src: source, alt, hidden: false });
}

const ask = (explain) => call(`/api/try?${new URLSearchParams({ run: byId("run").value, ...(explain ? { explain: "1" } : {}) })}`, { raw: photo });

async function classify() {
  const current = photo;
  heat = null;
  byId("heat").hidden = true;
  byId("error").textContent = "";
  byId("bars").replaceChildren();
  byId("answer").textContent = t("classifying");
  show(address, current.name);
  try {
    const answer = await ask(false);
    if (current !== photo) return;
    showAnswer(answer);
    setHeat(false);
    byId("heat").hidden = false;
  } catch (error) {
    if (current !== photo) return;
    byId("answer").replaceChildren();
    byId("error").textContent = visible(`${current.name}: ${error.message}`);
  }
}

function showAnswer(answer) {
  const title = answer.unknown ? t("unknown", { name: answer.label }) : answer.label;
  const why = answer.unknown ? ` ${t(answer.reason ?? "low_confidence")}` : "";
  byId("answer").replaceChildren(
    el("p", { className: answer.unknown ? "answer unknown" : "answer", textContent: title }),
    el("p", { textContent: t("confidence", { value: percent(answer.confidence) }) + why }),
  );
  const rows = Object.entries(answer.probabilities).sort(([, first], [, second]) => second - first).slice(0, MAX_BARS);
  byId("bars").replaceChildren(el("ul", { className: "bars", ariaLabel: t("probabilities") }, ...rows.map(([name, share]) => {
    const bar = el("meter", { value: share, min: 0, max: 1, ariaLabel: name });
    return el("li", {}, el("span", { className: "name", textContent: name }), el("span", { textContent: percent(share) }), bar);
  })));
}

async function toggleHeat() {
  const current = photo;
  if (byId("heat").getAttribute("aria-pressed") === "true") {
    show(address, current.name);
    setHeat(false);
    return;
  }
  byId("heat").disabled = true;
  try {
    heat ??= (await ask(true)).heat_map;
    if (current !== photo) return;
    show(`data:image/png;base64,${heat}`, t("heat_map_of", { name: byId("answer").querySelector(".answer").textContent }));
    setHeat(true);
  } catch (error) {
    byId("error").textContent = error.message;
  } finally {
    byId("heat").disabled = false;
  }
}

function setHeat(on) {
  byId("heat").setAttribute("aria-pressed", String(on));
  byId("heat").textContent = t(on ? "heat_hide" : "heat_show");
}
