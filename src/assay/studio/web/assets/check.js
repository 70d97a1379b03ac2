// The step Check: findings about single photos in grids, with the keys of the step Photos.
import { call, t } from "./dom.js";
import { revisions } from "./events.js";
import { Grid } from "./grid.js";
import { attempt, say } from "./messages.js";
import { openPhoto } from "./photo_dialog.js";
import { isUndoKey, undo } from "./undo.js";

const selected = new Map(); // ids by grid and its page: kept when its part of the page is fetched again

function setUp(place) {
  const finding = place.closest(".finding");
  const key = `${place.id}/${place.dataset.page}`;
  const buttons = [...finding.querySelectorAll("[data-edit]")];
  const photos = JSON.parse(place.dataset.photos)
    .map(([id, name, version, label, out, note]) => ({ id, name, version, label, out: Boolean(out), note }));
  const chosen = () => photos.filter(({ id }) => grid.selected.has(id));

  function showSelection() {
    selected.set(key, [...grid.selected]);
    const count = finding.querySelector("[data-count]");
    if (!count) return;
    count.textContent = t("selected", { count: grid.selected.size });
    finding.querySelector("[data-select=none]").disabled = !grid.selected.size;
    const [used, out] = [chosen().some((photo) => !photo.out), chosen().some((photo) => photo.out)];
    for (const button of buttons) button.disabled = !(button.dataset.edit === "restore" ? out : button.dataset.edit === "label" ? used || out : used);
    for (const button of buttons) if (button.dataset.edit === "restore") button.hidden = !out;
  }

  async function edit({ edit: action, label }) {
    if (!grid.selected.size) return;
    const body = { action, photos: [...grid.selected], revision: revisions.photos, ...(label ? { label: JSON.parse(label) } : {}) };
    const answer = await attempt(() => call("/api/edit", { body }));
    if (!answer) return;
    place.focus({ preventScroll: true }); // the button will be disabled
    grid.select([]);
    say(t(`done_${action}`, { count: answer.changed, name: body.label }));
  }

  const grid = new Grid(place, { onSelect: showSelection, onOpen: openPhoto, notes: photos.some(({ note }) => note), fit: true });
  (selected.get(key) ?? []).forEach((id) => grid.selected.add(id));
  grid.show(photos);
  for (const button of buttons) button.addEventListener("click", () => edit(button.dataset));
  finding.querySelector("[data-select=all]")?.addEventListener("click", () => grid.selectAll());
  finding.querySelector("[data-select=none]")?.addEventListener("click", () => grid.select([]));
  place.addEventListener("keydown", (event) => {
    if (event.altKey) return;
    if (isUndoKey(event)) {
      event.preventDefault();
      undo();
    }
    if (event.ctrlKey || event.metaKey) return;
    const labels = buttons.filter((button) => button.dataset.edit === "label");
    const button = event.key === "Delete" ? buttons.find((item) => item.dataset.edit === "leave_out") : labels[Number(event.key) - 1];
    if (button && !button.disabled) edit(button.dataset);
  });
}

const setUpAll = () => document.querySelectorAll(".finding .grid").forEach(setUp);
document.addEventListener("assay:shown", setUpAll); // part of the page was fetched again
setUpAll();
