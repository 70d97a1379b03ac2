// Adding photos: files, folders and videos that are chosen or dropped, and folders on this machine.
import { byId, call, el, onDrop, t } from "./dom.js";
import { attempt, say } from "./messages.js";

const PARALLEL = 3;
const IMAGE = /\.(jpe?g|jpe|jfif|png|webp|gif|bmp|dib|tiff?|avif|jp2|j2k|jpf|jpx|p[bgpn]m|pfm|heic|heif)$/i;
const VIDEO = /\.(mp4|mov|m4v|avi|mkv|webm|mpe?g|mjpeg|3gp)$/i;
let refresh = () => {};

export function openAdd(classes) {
  const chosen = byId("add-class").value;
  byId("add-class").replaceChildren(el("option", { value: "", textContent: t("add_no_label") }),
    ...classes.map(({ name }) => el("option", { value: name, textContent: name, selected: name === chosen })));
  byId("add-dialog").showModal();
}

export function setUpAdding({ sync, onCamera }) {
  refresh = sync;
  for (const id of ["files", "folder"]) {
    byId(id).addEventListener("change", (event) => { add([...event.target.files]); event.target.value = ""; });
  }
  onDrop(byId("drop"), add);
  onDrop(byId("main"), (files) => { byId("add-dialog").open || byId("add-dialog").showModal(); add(files); });
  byId("camera-open").addEventListener("click", () => { byId("add-dialog").close(); onCamera(); });
  byId("source-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    rescan({ folder: byId("source").value });
  });
  byId("rescan").addEventListener("click", () => rescan({}));
}

async function rescan(body) {
  const answer = await attempt(() => call("/api/rescan", { body }));
  if (!answer) return;
  say(t("rescanned", { count: answer.new.toLocaleString() }));
  byId("source").value = "";
  await refresh();
}

async function add(files) {
  const label = byId("add-class").value;
  const videos = files.filter((file) => VIDEO.test(file.name));
  const photos = files.filter((file) => IMAGE.test(file.name) || (file.type.startsWith("image/") && !VIDEO.test(file.name)));
  byId("upload-errors").replaceChildren();
  await upload(photos, label);
  for (const video of videos) await addVideo(video, label);
  await refresh();
}

async function upload(files, label) {
  const waiting = [...files];
  const bar = byId("upload-progress");
  let [done, same] = [0, 0];
  bar.hidden = !files.length;
  bar.max = files.length || 1;
  const next = async () => {
    for (let file = waiting.shift(); file; file = waiting.shift()) {
      try {
        const query = new URLSearchParams({ name: file.name, ...(label ? { label } : {}) });
        const answer = await call(`/api/upload?${query}`, { raw: file });
        if (!answer.new) same += 1;
      } catch (error) {
        byId("upload-errors").append(el("li", { textContent: error.message }));
      }
      done += 1;
      bar.value = done;
      const note = same ? ` (${t("upload_same", { count: same })})` : "";
      byId("upload-state").textContent = t("upload_state", { done, total: files.length }) + note;
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, next));
}

async function addVideo(file, label) {
  const query = new URLSearchParams({ name: file.name, ...(label ? { label } : {}) });
  const answer = await attempt(() => call(`/api/video?${query}`, { raw: file }));
  if (answer) say(t("video_started", { name: file.name }));
}
