// The stream of changes: one connection while the page is visible, so that many tabs do not use up the browser's.
import { byId } from "./dom.js";

const RETRY_MS = 2000;
const listeners = [];
export const revisions = { photos: 0, jobs: 0 };
let source = null;
let retry = 0;

// Call `listener` with the set of what has changed: "photos", "jobs".
export function onChange(listener) {
  listeners.push(listener);
}

function open() {
  if (source || document.hidden || !document.body.dataset.project) return; // the start page has no project
  source = new EventSource("/events");
  source.addEventListener("open", () => { byId("connection").hidden = true; });
  source.addEventListener("message", (event) => {
    const { project, ...news } = JSON.parse(event.data);
    if (project !== document.body.dataset.project) { // another one was opened, perhaps in another tab
      location.assign("/");
      return;
    }
    const changed = new Set(Object.keys(news).filter((name) => news[name] !== revisions[name]));
    Object.assign(revisions, news);
    if (changed.size) listeners.forEach((listener) => listener(changed));
  });
  source.addEventListener("error", () => {
    byId("connection").hidden = false;
    close();
    clearTimeout(retry);
    retry = setTimeout(open, RETRY_MS);
  });
}

function close() {
  source?.close();
  source = null;
}

document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
window.addEventListener("pagehide", close);
window.addEventListener("pageshow", open);
open();
