// What every page does: buttons and forms that call the studio, and parts that are fetched again after a change.
import { call, el, fetchFragment, t } from "./dom.js";
import { onChange, revisions } from "./events.js";
import { attempt, say } from "./messages.js";
import { openPhoto } from "./photo_dialog.js";
import { undo } from "./undo.js";

// <button data-post="/api/..." data-body='{...}'>: POST, with the revision that this page has seen.
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-post]");
  if (!button) return;
  event.preventDefault();
  act(button, () => call(button.dataset.post, { body: { revision: revisions.photos, ...JSON.parse(button.dataset.body ?? "{}") } }));
});

// <button data-copy>: copy the text beside it.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  await attempt(() => navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent));
  say(t("copied"));
});

// <form data-form="/api/...">: POST of its fields as JSON; names that end in [] are lists.
document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-form]");
  if (!form) return;
  event.preventDefault();
  act(event.submitter ?? form, () => call(form.dataset.form, { body: fields(form) }));
});

// <a data-within href="/...?a=1#id">: fetch only its part of the page, with this parameter besides those that it has, and focus #id.
document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-within]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return; // those open a tab or a window
  event.preventDefault();
  const part = link.closest("[data-live]");
  const [wanted, source] = [new URL(link.href), new URL(part.dataset.source, location.href)];
  wanted.searchParams.forEach((value, name) => source.searchParams.set(name, value));
  part.dataset.source = source.pathname + source.search;
  history.replaceState(null, "", wanted.pathname + source.search + wanted.hash);
  await update(part);
  const target = document.getElementById(wanted.hash.slice(1));
  target?.scrollIntoView({ block: "nearest" });
  focus(target);
});

// One request at a time for each element. It is not disabled meanwhile, which would take the focus from it.
async function act(element, request) {
  if (element.ariaBusy === "true") return;
  element.ariaBusy = "true";
  const answer = await attempt(request);
  element.ariaBusy = null;
  if (answer === null) return;
  if (element.dataset.go) location.assign(element.dataset.go);
  if (element.dataset.then === "resolve") resolve(element.closest(".group"), element.parentElement);
  await refresh(new Set(["photos", "jobs"]));
}

// Show that a group is done, in place of its buttons; the last one that was done can be undone there.
function resolve(group, row) {
  const buttons = [...row.childNodes];
  const back = el("button", { className: "undo-here", textContent: t("undo") });
  back.addEventListener("click", async () => {
    back.disabled = true;
    const answer = await undo();
    back.disabled = false;
    if (answer === null) return;
    group.classList.remove("resolved");
    row.replaceChildren(...buttons);
    row.querySelector("button").focus();
  });
  document.querySelectorAll(".undo-here").forEach((button) => button.remove());
  group.classList.add("resolved");
  row.replaceChildren(el("span", { className: "tag good", textContent: t("resolved") }), back);
  back.focus();
}

function fields(form) {
  const values = {};
  for (const [name, value] of new FormData(form)) {
    if (name.endsWith("[]")) (values[name.slice(0, -2)] ??= []).push(value);
    else values[name] = value;
  }
  return values;
}

// <div data-live="jobs photos" data-source="/...">: fetched again when one of these changes.
async function refresh(changed) {
  const parts = [...document.querySelectorAll("[data-live]")];
  await Promise.all(parts.filter((part) => part.dataset.live.split(" ").some((name) => changed.has(name))).map(update));
}

const busy = new WeakMap();
const folds = new Map(); // whether a <details id> was open when it was last shown: it may come back, as after Undo

// One request at a time for each part; a change meanwhile causes one more.
async function update(part) {
  if (busy.has(part)) {
    busy.set(part, true);
    return;
  }
  do {
    busy.set(part, false);
    try {
      show(part, await fetchFragment(part.dataset.source));
    } catch { /* the stream of changes tells that the studio is gone */ }
  } while (busy.get(part));
  busy.delete(part);
}

// Replace the content, but keep focus, open details, checked boxes and scroll positions.
function show(part, { html, nodes }) {
  if (part.dataset.shown === html) return;
  const kept = state(part);
  part.replaceChildren(...nodes);
  part.dataset.shown = html;
  part.querySelectorAll("details").forEach((item, place) => { item.open = folds.get(item.id) ?? kept.open.get(place) ?? item.open; });
  part.querySelectorAll("input[id]").forEach((item) => { if (kept.checked.has(item.id)) item.checked = true; });
  part.querySelectorAll(".scroll").forEach((item, place) => { item.scrollLeft = kept.scrolled[place] ?? 0; });
  part.dispatchEvent(new CustomEvent("assay:shown", { bubbles: true }));
  if (kept.focus) [kept.focus, kept.heading, "[tabindex='-1']", "button, a"].some((target) => focus(part.querySelector(target)));
}

// Focus an element; false if it is missing or disabled.
function focus(element) {
  element?.focus({ preventScroll: true });
  return element !== null && document.activeElement === element;
}

function state(part) {
  const active = part.contains(document.activeElement) ? document.activeElement : null;
  const open = new Map();
  part.querySelectorAll("details").forEach((item, place) => (item.id ? folds.set(item.id, item.open) : open.set(place, item.open)));
  const checked = new Set([...part.querySelectorAll("input:checked")].map((item) => item.id));
  const scrolled = [...part.querySelectorAll(".scroll")].map((item) => item.scrollLeft);
  const focus = !active ? null : active.id ? `#${CSS.escape(active.id)}`
    : active.dataset.post ? `[data-post="${CSS.escape(active.dataset.post)}"]`
    : active.dataset.photo ? `[data-photo="${CSS.escape(active.dataset.photo)}"]` : active.tagName.toLowerCase();
  // Where the element is gone: the heading of its section, if that can have the focus.
  const heading = `#${CSS.escape(active?.closest("section[aria-labelledby]")?.getAttribute("aria-labelledby") ?? "none")}[tabindex]`;
  return { open, checked, scrolled, focus, heading };
}

onChange(refresh);

// Times that run: since and until, in seconds since 1970. The studio runs on this machine, so the clocks are the same.
setInterval(() => {
  for (const item of document.querySelectorAll("[data-since], [data-until]")) {
    const now = Date.now() / 1000;
    item.textContent = duration(item.dataset.since ? now - item.dataset.since : item.dataset.until - now);
  }
}, 1000);

function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const two = (number) => String(number).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  return whole < 3600 ? `${Math.floor(whole / 60)} min ${two(whole % 60)} s` : `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

// A photo that cannot be read: its place says so.
document.addEventListener("error", ({ target }) => {
  if (!(target instanceof HTMLImageElement && target.classList.contains("thumb"))) return;
  target.replaceWith(el("span", { className: "thumb gone" }, el("span", { className: "sign", textContent: "⚠", ariaHidden: "true" }), t("unreadable")));
}, true);

// <button data-photo="id" ...>: enlarge.
document.addEventListener("click", (event) => {
  const { photo: id, version, name, label } = event.target.closest("button[data-photo]")?.dataset ?? {};
  if (id) openPhoto({ id, version, name, caption: label });
});
