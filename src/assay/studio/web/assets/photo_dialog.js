// The large view of a photo; for one that cannot be read, the reason instead.
import { byId, call, t, visible } from "./dom.js";

let shown = null; // address of the picture
let move = null;

// Show a photo: { id, version, name } with its label or a caption, and a note if it has one.
// `step` returns the photo at a distance from the one shown, null at the end; without it there is only this photo.
export function openPhoto(photo, step = null) {
  move = step;
  for (const name of ["photo-before", "photo-after"]) byId(name).hidden = !step;
  show(photo);
  byId("photo-dialog").showModal();
}

function show({ id, version, name, label, out, caption, note }) {
  const large = byId("photo-large");
  const address = `/previews/${id}?v=${version}`;
  shown = address;
  byId("photo-title").textContent = large.alt = visible(name);
  byId("photo-label").textContent = visible([caption ?? (out ? t("left_out") : label ?? t("unlabelled")), ...(note ? [note] : [])].join(" – "));
  byId("photo-problem").hidden = true;
  large.hidden = false;
  large.onerror = () => explain(address);
  large.src = address;
}

function go(distance) {
  const next = move?.(distance);
  if (next) show(next);
}

byId("photo-before").addEventListener("click", () => go(-1));
byId("photo-after").addEventListener("click", () => go(1));
byId("photo-dialog").addEventListener("keydown", ({ key }) => {
  if (key === "ArrowLeft" || key === "ArrowRight") go(key === "ArrowLeft" ? -1 : 1);
});

// Ask the studio why there is no picture.
async function explain(address) {
  let reason = t("unreadable");
  try {
    await call(address, { method: "GET" });
  } catch (error) {
    reason = error.message;
  }
  if (shown !== address) return;
  byId("photo-large").hidden = true;
  byId("photo-problem").hidden = false;
  byId("photo-problem").textContent = t("photo_problem", { reason });
}
