// A grid of thumbnails that creates only the visible tiles; selection by click, Shift, rectangle and keyboard.
import { byId, el, t, visible } from "./dom.js";

const GAP = 8;
const CAPTION = 26; // height of a line with the label
const NOTE = 18; // and of one with a note
const MAX_FITTED = 420; // height beyond which a grid that fits its photos scrolls
const AHEAD = 1.5; // screens of tiles beyond the visible ones
const DRAG_PX = 5;

// Return whether the picture of a tile is still awaited; its request is sent if it was not yet.
function fetchPicture({ element, image, address }) {
  if (element.classList.contains("loaded") || element.classList.contains("broken")) return false;
  if (!image.hasAttribute("src")) image.src = address;
  return true;
}

export class Grid {
  // `notes`: photos have a note below the label; `fit`: the grid is as high as its photos need, up to a limit.
  constructor(place, { onSelect, onOpen, notes = false, fit = false }) {
    this.place = place;
    this.caption = notes ? CAPTION + NOTE : CAPTION;
    this.fit = fit;
    place.style.setProperty("--caption", `${this.caption}px`);
    this.onSelect = onSelect;
    this.onOpen = onOpen;
    this.photos = [];
    this.selected = new Set();
    this.current = 0; // the tile with the keyboard focus
    this.anchor = 0; // where a range begins
    this.tiles = new Map(); // by place in the list
    this.visible = [0, 0]; // places of the visible tiles: first, and after the last
    this.canvas = el("div", { className: "canvas" });
    this.canvas.setAttribute("role", "presentation");
    this.box = el("div", { className: "rubber", hidden: true });
    place.append(this.canvas, this.box);
    place.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.layout()).observe(place);
    place.addEventListener("keydown", (event) => this.onKey(event));
    place.addEventListener("focus", () => this.mark());
    this.setUpPointer();
  }

  // Show these photos; the selection is kept where they are still shown.
  show(photos, { keepScroll = true } = {}) {
    const focused = this.photos[this.current]?.id;
    this.photos = photos;
    const shown = new Set(photos.map((photo) => photo.id));
    for (const id of this.selected) if (!shown.has(id)) this.selected.delete(id);
    const place = photos.findIndex((photo) => photo.id === focused);
    this.current = place >= 0 ? place : Math.min(this.current, Math.max(0, photos.length - 1));
    this.anchor = Math.min(this.anchor, Math.max(0, photos.length - 1));
    if (!keepScroll) this.place.scrollTop = this.current = this.anchor = 0;
    this.layout(true);
    this.onSelect();
  }

  layout(fresh = false) {
    const width = this.place.clientWidth - 2 * GAP;
    const wanted = width < 520 ? 104 : 148;
    this.columns = Math.max(1, Math.floor((width + GAP) / (wanted + GAP)));
    this.side = Math.floor((width - GAP * (this.columns - 1)) / this.columns);
    this.row = this.side + this.caption + GAP;
    const rows = Math.ceil(this.photos.length / this.columns);
    this.canvas.style.height = `${rows * this.row + GAP}px`;
    if (this.fit) this.place.style.height = `${Math.min(rows * this.row + GAP, MAX_FITTED)}px`;
    if (fresh) this.tiles.forEach((tile) => { tile.stale = true; });
    this.tiles.forEach((tile, place) => this.position(tile.element, place));
    this.draw();
  }

  // Create the tiles near the visible part and remove the others.
  draw() {
    const height = this.place.clientHeight;
    const top = this.place.scrollTop - AHEAD * height;
    const first = Math.max(0, Math.floor(top / this.row) * this.columns);
    const last = Math.min(this.photos.length, Math.ceil((this.place.scrollTop + (1 + AHEAD) * height) / this.row) * this.columns);
    for (const [place, tile] of this.tiles) {
      if (place < first || place >= last) {
        tile.image.removeAttribute("src"); // the browser gives up the request
        tile.element.remove();
        this.tiles.delete(place);
      }
    }
    const visibleFirst = Math.max(first, Math.floor(this.place.scrollTop / this.row) * this.columns);
    this.visible = [visibleFirst, Math.min(last, Math.ceil((this.place.scrollTop + height) / this.row) * this.columns)];
    const order = [];
    for (let place = visibleFirst; place < last; place += 1) order.push(place);
    for (let place = visibleFirst - 1; place >= first; place -= 1) order.push(place);
    const added = [];
    for (const place of order) {
      const tile = this.tiles.get(place);
      if (!tile) added.push(this.create(place));
      else if (tile.stale) this.fill(tile, place);
    }
    if (added.length) this.canvas.append(...added);
    this.mark();
    this.load();
  }

  // Fetch the pictures of the visible tiles; those beyond only when these are there.
  load() {
    const [first, last] = this.visible;
    let waiting = false;
    for (let place = first; place < last; place += 1) {
      const tile = this.tiles.get(place);
      if (tile) waiting = fetchPicture(tile) || waiting;
    }
    if (!waiting) this.tiles.forEach(fetchPicture);
  }

  create(place) {
    const image = el("img", { alt: "", draggable: false });
    const name = el("span", { className: "tile-name" }); // until the picture is there
    const caption = el("span", { className: "tile-caption" });
    const note = el("span", { className: "tile-note" });
    const element = el("div", { className: "tile" }, name, image, caption, ...(this.caption > CAPTION ? [note] : []));
    element.setAttribute("role", "option");
    const tile = { element, image, name, caption, note, stale: true };
    image.addEventListener("load", () => { element.classList.add("loaded"); this.load(); });
    image.addEventListener("error", () => {
      element.classList.add("broken");
      this.describe(tile, Number(element.dataset.place));
      this.load();
    });
    this.tiles.set(place, tile);
    this.fill(tile, place);
    this.position(element, place);
    return element;
  }

  fill(tile, place) {
    const photo = this.photos[place];
    const { element, image, name, caption, note } = tile;
    const address = `/thumbnails/${photo.id}?v=${photo.version}`;
    if (tile.address !== address) {
      element.classList.remove("loaded", "broken");
      image.removeAttribute("src");
      tile.address = address;
    }
    const label = photo.out ? t("left_out") : photo.label ?? t("unlabelled");
    caption.textContent = visible(label);
    note.textContent = visible(photo.note ?? "");
    caption.dataset.kind = photo.out ? "out" : photo.label === null ? "none" : "label";
    element.id = `photo-${photo.id}`;
    element.dataset.place = place;
    name.textContent = visible(photo.name.slice(photo.name.lastIndexOf("/") + 1));
    this.describe(tile, place);
    element.setAttribute("aria-setsize", this.photos.length);
    element.setAttribute("aria-posinset", place + 1);
    element.classList.toggle("out", photo.out);
    tile.stale = false;
  }

  describe({ element }, place) {
    const photo = this.photos[place];
    const label = photo.out ? t("left_out") : photo.label ?? t("unlabelled");
    const broken = element.classList.contains("broken") ? [t("unreadable")] : [];
    const notes = [...(photo.note ? [photo.note] : []), ...broken].map((note) => `, ${note}`).join("");
    element.title = visible(`${photo.name}${notes}`);
    element.setAttribute("aria-label", visible(`${photo.name}: ${label}${notes}`));
  }

  position(element, place) {
    const column = place % this.columns;
    const row = Math.floor(place / this.columns);
    Object.assign(element.style, {
      width: `${this.side}px`, height: `${this.side + this.caption}px`,
      transform: `translate(${GAP + column * (this.side + GAP)}px, ${GAP + row * this.row}px)`,
    });
  }

  // Show which tiles are selected and which one the keyboard is at.
  mark() {
    for (const [place, { element }] of this.tiles) {
      const selected = this.selected.has(this.photos[place].id);
      element.setAttribute("aria-selected", String(selected));
      element.classList.toggle("current", place === this.current);
    }
    const current = this.tiles.get(this.current);
    if (current) this.place.setAttribute("aria-activedescendant", current.element.id);
    else this.place.removeAttribute("aria-activedescendant");
  }

  select(ids, { add = false } = {}) {
    if (!add) this.selected.clear();
    ids.forEach((id) => this.selected.add(id));
    this.mark();
    this.onSelect();
  }

  selectAll() {
    this.select(this.photos.map((photo) => photo.id));
  }

  selectRange(place, { add = false } = {}) {
    const [from, to] = [Math.min(this.anchor, place), Math.max(this.anchor, place)];
    this.select(this.photos.slice(from, to + 1).map((photo) => photo.id), { add });
  }

  toggle(place) {
    const { id } = this.photos[place];
    if (!this.selected.delete(id)) this.selected.add(id);
    this.anchor = place;
    this.mark();
    this.onSelect();
  }

  click(place, event) {
    this.current = place;
    if (event.shiftKey) this.selectRange(place, { add: event.ctrlKey || event.metaKey });
    else if (event.ctrlKey || event.metaKey || event.pointerType === "touch") this.toggle(place);
    else {
      this.anchor = place;
      this.select([this.photos[place].id]);
    }
  }

  setUpPointer() {
    let start = null;
    const point = (event) => {
      const frame = this.place.getBoundingClientRect();
      return { x: event.clientX - frame.left, y: event.clientY - frame.top + this.place.scrollTop };
    };
    this.place.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.offsetX > this.place.clientWidth) return;
      start = { ...point(event), dragging: false, before: new Set(this.selected), id: event.pointerId };
    });
    this.place.addEventListener("pointermove", (event) => {
      if (!start || event.pointerType === "touch") return;
      const now = point(event);
      if (!start.dragging && Math.hypot(now.x - start.x, now.y - start.y) < DRAG_PX) return;
      if (!start.dragging) this.place.setPointerCapture(start.id);
      start.dragging = true;
      this.drag(start, now, event);
    });
    this.place.addEventListener("pointerup", (event) => {
      const dragged = start?.dragging;
      start = null;
      this.box.hidden = true;
      const tile = event.target.closest?.(".tile");
      if (!dragged && tile && this.place.contains(tile)) this.click(Number(tile.dataset.place), event);
      else if (!dragged && event.button === 0 && event.target === this.canvas) this.select([]);
    });
    this.place.addEventListener("pointercancel", () => { start = null; this.box.hidden = true; });
    this.place.addEventListener("dblclick", (event) => {
      const tile = event.target.closest?.(".tile");
      if (tile) this.open(Number(tile.dataset.place));
    });
  }

  drag(start, now, event) {
    const [left, right] = [Math.min(start.x, now.x), Math.max(start.x, now.x)];
    const [top, bottom] = [Math.min(start.y, now.y), Math.max(start.y, now.y)];
    Object.assign(this.box.style, { left: `${left}px`, top: `${top}px`, width: `${right - left}px`, height: `${bottom - top}px` });
    this.box.hidden = false;
    const frame = this.place.getBoundingClientRect();
    if (event.clientY > frame.bottom - 30) this.place.scrollTop += 20;
    if (event.clientY < frame.top + 30) this.place.scrollTop -= 20;
    const step = this.side + GAP;
    const columns = [Math.max(0, Math.floor((left - GAP) / step)), Math.min(this.columns - 1, Math.floor((right - GAP) / step))];
    const rows = [Math.max(0, Math.floor((top - GAP) / this.row)), Math.floor((bottom - GAP) / this.row)];
    const ids = [];
    for (let row = rows[0]; row <= rows[1]; row += 1) {
      for (let column = columns[0]; column <= columns[1]; column += 1) {
        const photo = this.photos[row * this.columns + column];
        if (photo) ids.push(photo.id);
      }
    }
    const keep = event.ctrlKey || event.metaKey || event.shiftKey ? [...start.before] : [];
    this.select([...keep, ...ids]);
  }

  onKey(event) {
    const page = Math.max(1, Math.floor(this.place.clientHeight / this.row)) * this.columns;
    const steps = {
      ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns, PageDown: page, PageUp: -page,
      Home: -this.photos.length, End: this.photos.length,
    };
    if (!this.photos.length) return;
    if (event.key in steps) {
      event.preventDefault();
      this.moveTo(this.current + steps[event.key], event.shiftKey);
    } else if (event.key === " ") {
      event.preventDefault();
      this.toggle(this.current);
    } else if (event.key === "Enter") {
      event.preventDefault();
      this.open(this.current);
    } else if (event.key === "Escape") {
      this.select([]);
    } else if (event.key.toLowerCase() === "a" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.selectAll();
    }
  }

  // Enlarge a photo; from there, one can go on to its neighbours.
  open(place) {
    this.current = place;
    this.onOpen(this.photos[place], (distance) => {
      const next = this.photos[this.current + distance] ?? null;
      if (next) this.moveTo(this.current + distance, false);
      return next;
    });
  }

  moveTo(place, extend) {
    this.current = Math.max(0, Math.min(this.photos.length - 1, place));
    const top = GAP + Math.floor(this.current / this.columns) * this.row;
    const height = this.place.clientHeight;
    if (top - GAP < this.place.scrollTop) this.place.scrollTop = top - GAP;
    if (top + this.row > this.place.scrollTop + height) this.place.scrollTop = top + this.row - height;
    if (extend) this.selectRange(this.current);
    else this.anchor = this.current;
    this.draw();
  }
}

export const grid = (handlers) => new Grid(byId("grid"), handlers);
