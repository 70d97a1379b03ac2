// The step Photos: the grid, its filters, classes and labels.
import { setUpAdding } from "./adding.js";
import { byId, call, el, formatNumber, t, visible } from "./dom.js";
import { onChange } from "./events.js";
import { grid as makeGrid } from "./grid.js";
import { attempt, say } from "./messages.js";
import { openPhoto } from "./photo_dialog.js";
import { setUpShots } from "./shots.js";
import { isUndoKey, undo } from "./undo.js";

const MAX_KEYS = 9;
const photos = new Map(); // by id, in the order of the project
let state = { revision: 0, classes: [], unlabelled: 0, left_out: 0, undo: null, total: 0, in_folders: 0, label_folders: 0 };
let filter = new URLSearchParams(location.search).get("show") ?? "all"; // all, unlabelled, out, or class:NAME
let renamed = null;

const grid = makeGrid({ onSelect: showSelection, onOpen: openPhoto });

async function load(since = 0) {
  const answer = await call(`/api/photos?since=${since}`, { method: "GET" });
  for (const [id, name, version, label, out] of answer.photos) photos.set(id, { id, name, version, label, out: Boolean(out) });
  if (photos.size !== answer.total) { // photos are gone: read the whole list
    photos.clear();
    if (since) return load();
  }
  state = answer;
  draw();
}

let loading = null;
let again = false;

// Read what has changed; a change meanwhile causes one more request.
function sync() {
  if (loading) {
    again = true;
    return loading;
  }
  loading = load(state.revision).catch(() => {}).finally(() => {
    loading = null;
    if (again) { again = false; sync(); }
  });
  return loading;
}

const matches = {
  all: (photo) => !photo.out,
  unlabelled: (photo) => photo.label === null && !photo.out,
  out: (photo) => photo.out,
};

function shown() {
  const words = byId("search").value.trim().toLowerCase();
  const label = filter.startsWith("class:") ? filter.slice(6) : null;
  const match = label === null ? matches[filter] : (photo) => photo.label === label && !photo.out;
  return [...photos.values()].filter((photo) => match(photo) && (!words || photo.name.toLowerCase().includes(words)));
}

function draw({ keepScroll = true } = {}) {
  if (!Object.hasOwn(matches, filter) && !state.classes.some(({ name }) => `class:${name}` === filter)) filter = "all";
  drawFilters();
  const list = shown();
  grid.show(list, { keepScroll });
  byId("shown").textContent = t("shown", { count: list.length });
  byId("empty").hidden = list.length > 0;
  byId("empty-text").textContent = t(photos.size ? "empty_filter" : "empty_project");
  byId("undo").disabled = !state.undo;
  byId("undo").textContent = state.undo ? t("undo_what", { what: state.undo }) : t("undo");
  byId("undo").title = visible(state.undo ?? "");
  byId("by-folder").hidden = !state.in_folders;
  byId("folder-hint").hidden = state.label_folders < 2;
  byId("folder-hint").textContent = t("folder_hint", { button: t("label_by_folder") });
}

function drawFilters() {
  const focus = document.activeElement?.dataset?.filter;
  byId("filters").replaceChildren(
    filterButton("all", t("all_photos"), state.total - state.left_out),
    filterButton("unlabelled", t("unlabelled"), state.unlabelled),
    filterButton("out", t("left_out"), state.left_out),
  );
  byId("classes").replaceChildren(...state.classes.map(({ name, count }) => {
    const edit = el("button", { className: "plain edit", textContent: "✎", ariaLabel: t("edit_class", { name }) });
    edit.addEventListener("click", () => openClass(name));
    return el("div", { className: "filter-row" }, filterButton(`class:${name}`, name, count), edit);
  }));
  if (focus) [...document.querySelectorAll("[data-filter]")].find((item) => item.dataset.filter === focus)?.focus();
}

function filterButton(value, text, count) {
  const button = el("button", { className: "filter" }, el("span", { className: "name", textContent: text, title: text }),
    el("span", { className: "count", textContent: formatNumber(count) }));
  button.dataset.filter = value;
  button.setAttribute("aria-pressed", String(filter === value));
  button.addEventListener("click", () => { filter = value; draw({ keepScroll: false }); });
  return button;
}

// What the selection allows: one button a class, and the other edits.
function showSelection() {
  const count = grid.selected.size;
  byId("selected-count").textContent = t("selected", { count });
  for (const id of ["unlabel", "leave-out", "select-none"]) byId(id).disabled = !count;
  byId("select-all").disabled = !grid.photos.length;
  byId("restore").hidden = filter !== "out";
  byId("leave-out").hidden = filter === "out";
  byId("restore").disabled = !count;
  const buttons = byId("label-buttons");
  const names = state.classes.map(({ name }) => name);
  if (buttons.dataset.names !== JSON.stringify(names)) {
    buttons.dataset.names = JSON.stringify(names);
    buttons.replaceChildren(...(names.length ? names.map(labelButton) : [el("p", { className: "quiet", textContent: t("no_classes") })]));
  }
  for (const button of buttons.querySelectorAll("button")) button.disabled = !count;
}

function labelButton(name, place) {
  const key = place < MAX_KEYS ? [el("kbd", { textContent: String(place + 1) })] : [];
  const button = el("button", { className: "label-button", ariaLabel: t("label_as", { name }) }, ...key, el("span", { textContent: name, title: name }));
  button.addEventListener("click", () => edit("label", name));
  return button;
}

async function edit(action, label) {
  const ids = [...grid.selected];
  if (!ids.length) return;
  const answer = await attempt(() => call("/api/edit", { body: { action, label, photos: ids, revision: state.revision } }));
  if (!answer) {
    await sync();
    return;
  }
  // Shown at once; the stream of changes brings the same.
  for (const id of ids) {
    const photo = photos.get(id);
    if (!photo) continue;
    if (action === "label") photo.label = label;
    if (action === "unlabel") photo.label = null;
    if (action === "leave_out") photo.out = true;
    else if (action !== "unlabel") photo.out = false;
  }
  if (byId("selection").contains(document.activeElement)) byId("grid").focus({ preventScroll: true }); // its button will be disabled
  grid.selected.clear();
  say(t(`done_${action}`, { count: answer.changed, name: label }));
  await sync();
}

function openClass(name) {
  renamed = name;
  byId("class-title").textContent = t("class_title", { name });
  byId("rename-name").value = name;
  byId("class-dialog").showModal();
}

async function editClass(body) {
  const answer = await attempt(() => call("/api/classes", { body }));
  if (answer) byId("class-dialog").close();
  await sync();
}

// Keys work while the grid has the focus.
byId("grid").addEventListener("keydown", (event) => {
  if (event.altKey) return;
  if (isUndoKey(event)) {
    event.preventDefault();
    undo();
  }
  if (event.ctrlKey || event.metaKey) return;
  if (event.key === "Delete") edit("leave_out");
  else if (event.key === "0") edit("unlabel");
  else if (/^[1-9]$/.test(event.key) && state.classes[Number(event.key) - 1]) edit("label", state.classes[Number(event.key) - 1].name);
});

byId("search").addEventListener("input", () => draw({ keepScroll: false }));
byId("select-all").addEventListener("click", (event) => {
  grid.selectAll();
  if (event.detail) byId("grid").focus(); // after a click, keys label the photos at once
});
byId("select-none").addEventListener("click", () => grid.select([]));
byId("unlabel").addEventListener("click", () => edit("unlabel"));
byId("leave-out").addEventListener("click", () => edit("leave_out"));
byId("restore").addEventListener("click", () => edit("restore"));
byId("by-folder").addEventListener("click", () => editClass({ action: "by_folder" }));
byId("new-class").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = byId("class-name").value;
  if (await attempt(() => call("/api/classes", { body: { action: "create", name } }))) byId("class-name").value = "";
  await sync();
});
byId("rename-form").addEventListener("submit", (event) => {
  event.preventDefault();
  editClass({ action: "rename", name: renamed, to: byId("rename-name").value });
});
byId("delete-class").addEventListener("click", () => editClass({ action: "delete", name: renamed }));
const classes = () => state.classes;
setUpAdding({ sync, classes, onCamera: setUpShots({ sync, classes }) });
onChange((changed) => { if (changed.has("photos")) sync(); });
sync();
