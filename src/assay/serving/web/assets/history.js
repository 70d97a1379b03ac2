// The photos classified in this page, kept in memory only.
import { labelText, ranked } from "./answer.js";
import { byId, el, percent } from "./dom.js";

const MAX_ENTRIES = 100;
const THUMBNAIL_HEIGHT = 144;

export function setUpHistory() {
  byId("history-clear").addEventListener("click", () => { byId("history-list").replaceChildren(); update(); });
  update();
}

export async function addToHistory(photo, answer) {
  const share = ranked(answer.probabilities)[0][1];
  const entry = el("li", {}, el("div", {},
    el("p", {}, el("strong", { textContent: labelText(answer) }), ` ${percent(share)}`),
    el("p", { textContent: photo.name }),
    el("p", { className: "quiet", textContent: new Date().toLocaleTimeString() })));
  byId("history-list").prepend(entry);
  while (byId("history-list").childElementCount > MAX_ENTRIES) byId("history-list").lastElementChild.remove();
  update();
  const image = await thumbnail(photo);
  if (image) entry.prepend(el("img", { src: image, alt: "" }));
}

function update() {
  const empty = !byId("history-list").childElementCount;
  byId("history-empty").hidden = !empty;
  byId("history-clear").hidden = empty;
}

async function thumbnail(photo) {
  try {
    const picture = await createImageBitmap(photo, { resizeHeight: THUMBNAIL_HEIGHT, resizeQuality: "medium" });
    const canvas = el("canvas", { width: picture.width, height: picture.height });
    canvas.getContext("2d").drawImage(picture, 0, 0);
    picture.close();
    return canvas.toDataURL("image/jpeg", 0.8);
  } catch {
    return null; // a format that the browser cannot decode
  }
}
