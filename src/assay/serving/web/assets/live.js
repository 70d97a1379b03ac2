// Live classification of camera frames, one at a time, at most at the chosen rate.
import { labelText, showAnswer, showBars } from "./answer.js";
import { classify } from "./api.js";
import { Camera } from "./camera.js";
import { byId, el, wait } from "./dom.js";
import { PredictionSmoother } from "./smoothing.js";
import { View } from "./view.js";

const MAX_SIDE = 640;
const view = new View(byId("live-view"), el("video", { muted: true, playsInline: true, ariaLabel: "Your camera" }));
const camera = new Camera(view.shown);
let run = 0; // incremented on every start and stop, so that an old loop ends

export function setUpLive() {
  byId("live-toggle").addEventListener("click", () => (camera.stream ? stopLive() : startLive()));
  document.addEventListener("visibilitychange", () => { if (document.hidden) stopLive(); });
}

async function startLive() {
  const current = ++run;
  byId("live-error").textContent = "";
  byId("live-toggle").disabled = true;
  try {
    view.open();
    await camera.open();
    byId("live-toggle").textContent = "Stop camera";
  } catch (error) {
    stopLive();
    byId("live-error").textContent = error.message;
    return;
  } finally {
    byId("live-toggle").disabled = false;
  }
  if (current === run) await classifyFrames(current);
  else camera.close(); // stopped while the browser asked for permission
}

async function classifyFrames(current) {
  const smoother = new PredictionSmoother();
  let last = performance.now();
  while (current === run) {
    const start = performance.now();
    try {
      const answer = await classify(await camera.take(MAX_SIDE));
      if (current !== run) return;
      const smoothed = smoother.update(answer, performance.now() / 1000);
      const top = { ...smoothed, probabilities: topOnly(smoothed) };
      showAnswer(byId("live-answer"), top);
      // Updated only on change, so that a screen reader does not announce every frame.
      const label = labelText(top);
      if (label !== byId("live-label").textContent) byId("live-label").textContent = label;
      showBars(byId("live-bars"), smoothed.probabilities);
      view.outline(answer.crop_box, answer.size);
      byId("live-error").textContent = "";
      byId("live-rate-measured").textContent = `${(1000 / (start - last || 1000)).toFixed(1)} per second`;
    } catch (error) {
      if (current !== run) return;
      byId("live-error").textContent = error.message;
      if ([0, 429, 503].includes(error.status)) await wait(1000 * (error.seconds ?? 2));
      else return stopLive();
    }
    last = start;
    await wait(Math.max(0, 1000 / Number(byId("live-rate").value) - (performance.now() - start)));
  }
}

// The smoothed label may briefly be less likely than another one; it is the one that is shown.
const topOnly = ({ label, probabilities }) => ({ [label]: probabilities[label] });

export function stopLive() {
  run += 1;
  camera.close();
  view.close();
  byId("live-toggle").textContent = "Start camera";
  byId("live-rate-measured").textContent = "";
}
