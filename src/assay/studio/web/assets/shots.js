// Photographing with the camera: a button for each class, held down; near-copies are reported.
import { Camera } from "./camera.js";
import { byId, call, el, t, wait } from "./dom.js";
import { complain } from "./messages.js";

const INTERVAL_MS = 500;

// Return a function that opens the dialog.
export function setUpShots({ sync, classes }) {
  const camera = new Camera(byId("camera-video"));
  const dialog = byId("camera-dialog");
  const taken = new Map();
  let held = null;
  let running = false;

  const state = (text, copy = false) => {
    byId("camera-state").textContent = text;
    byId("camera-state").classList.toggle("doubt", copy);
  };

  async function shoot() {
    if (running) return;
    running = true;
    while (held !== null && camera.stream) {
      const label = held;
      const start = performance.now();
      try {
        const query = new URLSearchParams({ label, ...(byId("camera-copies").checked ? { copies: "keep" } : {}) });
        const answer = await call(`/api/shot?${query}`, { raw: await camera.take() });
        if (answer.stored) taken.set(label, (taken.get(label) ?? 0) + 1);
        const count = t("camera_taken", { count: taken.get(label) ?? 0, name: label });
        state(answer.near_copy ? `${count}. ${t(answer.stored ? "camera_copy_kept" : "camera_copy")}` : count, answer.near_copy);
      } catch (error) {
        state(error.message, true);
        held = null;
      }
      await wait(Math.max(0, INTERVAL_MS - (performance.now() - start)));
    }
    running = false;
    await sync();
  }

  function holdButton(name) {
    const button = el("button", { className: "hold", textContent: name, ariaLabel: t("camera_class", { name }) });
    const press = (event) => { event.preventDefault(); button.focus(); held = name; button.classList.add("held"); shoot(); };
    const release = () => { if (held === name) held = null; button.classList.remove("held"); };
    button.addEventListener("pointerdown", press);
    for (const kind of ["pointerup", "pointerleave", "pointercancel", "blur"]) button.addEventListener(kind, release);
    button.addEventListener("keydown", (event) => { if ([" ", "Enter"].includes(event.key) && !event.repeat) press(event); });
    button.addEventListener("keyup", release);
    return button;
  }

  dialog.addEventListener("close", () => { held = null; camera.close(); });
  return async () => {
    const names = classes().map(({ name }) => name);
    byId("camera-classes").replaceChildren(...names.map(holdButton));
    state(names.length ? "" : t("camera_no_class"));
    dialog.showModal();
    try {
      await camera.open();
    } catch (error) {
      dialog.close();
      complain(error.message);
    }
  };
}
