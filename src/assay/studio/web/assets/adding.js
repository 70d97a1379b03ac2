// Adding photos: files, folders and videos that are chosen or dropped, and folders on this machine.
import { byId, call, el, folderOf, onDrop, t } from "./dom.js";
import { attempt, say } from "./messages.js";

const PARALLEL = 3;
const MAX_BYTES = 64 << 20; // larger photos are refused before they are sent
const IMAGE = /\.(jpe?g|jpe|jfif|png|webp|gif|bmp|dib|tiff?|avif|jp2|j2k|jpf|jpx|p[bgpn]m|pfm|heic|heif)$/i;
const VIDEO = /\.(mp4|mov|m4v|avi|mkv|webm|mpe?g|mjpeg|3gp)$/i;
const HIDDEN = /^(\.|(thumbs\.db|desktop\.ini)$)/i; // files that systems put into folders
const MAX_REASONS = 10;
let refresh = () => {};
let known = () => [];

function open() {
  const chosen = byId("add-class").value;
  byId("add-class").replaceChildren(el("option", { value: "", textContent: t("add_no_label") }),
    ...known().map(({ name }) => el("option", { value: name, textContent: name, selected: name === chosen })));
  if (!byId("add-dialog").open) byId("add-dialog").showModal();
}

// Set up the dialog; `classes` returns those of the project.
export function setUpAdding({ sync, classes, onCamera }) {
  refresh = sync;
  known = classes;
  byId("add-photos").addEventListener("click", open);
  for (const id of ["files", "folder"]) {
    byId(id).addEventListener("change", (event) => { add([...event.target.files].map(withFolder)); event.target.value = ""; });
  }
  onDrop(byId("drop"), add);
  onDrop(byId("main"), (files) => { open(); add(files); });
  byId("camera-open").addEventListener("click", () => { byId("add-dialog").close(); onCamera(); });
  byId("source-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    rescan({ folder: byId("source").value });
  });
  byId("rescan").addEventListener("click", () => rescan({}));
}

const withFolder = (file) => Object.assign(file, { folder: folderOf(file.webkitRelativePath) });

async function rescan(body) {
  const answer = await attempt(() => call("/api/rescan", { body }));
  if (!answer) return;
  say(t("rescanned", { count: answer.new }));
  byId("source").value = "";
  await refresh();
}

async function add(files) {
  const label = byId("add-class").value;
  const usable = files.filter((file) => !HIDDEN.test(file.name));
  const videos = usable.filter((file) => VIDEO.test(file.name));
  const photos = usable.filter((file) => IMAGE.test(file.name) || (file.type.startsWith("image/") && !VIDEO.test(file.name)));
  const outcome = { added: 0, same: 0, refused: [] };
  for (const file of usable) if (!videos.includes(file) && !photos.includes(file)) outcome.refused.push([file.name, t("upload_other")]);
  byId("upload-result").textContent = "";
  byId("upload-errors").replaceChildren();
  await upload(photos, label, outcome);
  if (photos.length || outcome.refused.length) tell(outcome);
  byId("upload-folders").hidden = Boolean(label) || !outcome.added || !photos.some(({ folder }) => folder);
  for (const video of videos) await addVideo(video, label);
  await refresh();
}

async function upload(files, label, outcome) {
  const waiting = [...files];
  const bar = byId("upload-progress");
  let done = 0;
  bar.hidden = !files.length;
  bar.max = files.length || 1;
  bar.value = 0;
  const next = async () => {
    for (let file = waiting.shift(); file; file = waiting.shift()) {
      byId("upload-state").textContent = t("upload_state", { done, total: files.length });
      try {
        if (file.size > MAX_BYTES) throw new Error(t("upload_large", { limit: MAX_BYTES >> 20 }));
        const query = new URLSearchParams({ name: file.name, folder: file.folder ?? "", ...(label ? { label } : {}) });
        const answer = await call(`/api/upload?${query}`, { raw: file });
        outcome[answer.new ? "added" : "same"] += 1;
      } catch (error) {
        outcome.refused.push([file.name, error.message]);
      }
      done += 1;
      bar.value = done;
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, next));
  byId("upload-state").textContent = "";
  bar.hidden = true;
}

// Say how many files were added, were there already, and were refused and why.
function tell({ added, same, refused }) {
  byId("upload-result").textContent = [
    t("upload_added", { count: added }), ...(same ? [t("upload_same", { count: same })] : []),
    ...(refused.length ? [t("upload_refused", { count: refused.length })] : []),
  ].join(" ");
  const more = refused.length - MAX_REASONS;
  byId("upload-errors").replaceChildren(
    ...refused.slice(0, MAX_REASONS).map(([name, reason]) => el("li", { textContent: `${name}: ${reason}` })),
    ...(more > 0 ? [el("li", { textContent: t("upload_more", { count: more }) })] : []),
  );
}

async function addVideo(file, label) {
  const query = new URLSearchParams({ name: file.name, ...(label ? { label } : {}) });
  const answer = await attempt(() => call(`/api/video?${query}`, { raw: file }));
  if (answer) say(t("video_started", { name: file.name }));
}
