// The camera, classified again and again: one picture at a time, never more often than asked for.
import { said, showAnswer, showBars } from "./answer.js";
import { classify } from "./api.js";
import { Camera } from "./camera.js";
import { byId, el, wait } from "./dom.js";
import { Steady } from "./steady.js";
import { View } from "./view.js";

const SIDE = 640;
const view = new View(byId("live-view"), el("video", { muted: true, playsInline: true, ariaLabel: "Your camera" }));
const camera = new Camera(view.shown);
let round = 0; // counts starts and stops, so that an old loop sees that it is over

export function setUpLive() {
  byId("live-toggle").addEventListener("click", () => (camera.stream ? stopLive() : start()));
  document.addEventListener("visibilitychange", () => { if (document.hidden) stopLive(); });
}

async function start() {
  const mine = ++round;
  byId("live-error").textContent = "";
  byId("live-toggle").disabled = true;
  try {
    view.open();
    await camera.open();
    byId("live-toggle").textContent = "Stop the camera";
  } catch (error) {
    stopLive();
    byId("live-error").textContent = error.message;
    return;
  } finally {
    byId("live-toggle").disabled = false;
  }
  if (mine === round) await watch(mine);
  else camera.close(); // the person has gone on while the browser asked
}

async function watch(mine) {
  const steady = new Steady();
  let last = performance.now();
  while (mine === round) {
    const began = performance.now();
    try {
      const answer = await classify(await camera.take(SIDE));
      if (mine !== round) return;
      const shown = steady.update(answer, performance.now() / 1000);
      const held = { ...shown, probabilities: first(shown) };
      showAnswer(byId("live-answer"), held);
      // Told anew only when it changes, so that a screen reader is not flooded.
      const now = said(held);
      if (now !== byId("live-said").textContent) byId("live-said").textContent = now;
      showBars(byId("live-bars"), shown.probabilities);
      view.outline(answer.crop_box, answer.size);
      byId("live-error").textContent = "";
      byId("live-rate-told").textContent = `${(1000 / (began - last || 1000)).toFixed(1)} a second`;
    } catch (error) {
      if (mine !== round) return;
      byId("live-error").textContent = error.message;
      if ([0, 429, 503].includes(error.status)) await wait(1000 * (error.seconds ?? 2));
      else return stopLive();
    }
    last = began;
    await wait(Math.max(0, 1000 / Number(byId("live-rate").value) - (performance.now() - began)));
  }
}

// The label that holds may trail another for a moment; it is what is told.
const first = ({ label, probabilities }) => ({ [label]: probabilities[label] });

export function stopLive() {
  round += 1;
  camera.close();
  view.close();
  byId("live-toggle").textContent = "Start the camera";
  byId("live-rate-told").textContent = "";
}
