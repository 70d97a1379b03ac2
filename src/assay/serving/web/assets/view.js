// An image or video with an outline of the area that the model sees.
import { el } from "./dom.js";

export class View {
  constructor(place, shown) {
    this.shown = shown;
    this.box = el("div", { className: "box", hidden: true });
    this.frame = el("div", { className: "frame" }, shown, this.box);
    this.caption = el("figcaption");
    this.figure = el("figure", { className: "photo", hidden: true }, this.frame, this.caption);
    place.replaceChildren(this.figure);
  }

  open(caption = "") {
    this.figure.hidden = this.frame.hidden = false;
    this.box.hidden = true;
    this.caption.textContent = caption;
  }

  close() {
    this.figure.hidden = true;
  }

  // Left, top, right and bottom, in pixels of an image of this width and height.
  outline([left, top, right, bottom], [width, height]) {
    const share = (part, whole) => `${(100 * part) / whole}%`;
    Object.assign(this.box.style, {
      left: share(left, width), top: share(top, height),
      width: share(right - left, width), height: share(bottom - top, height),
    });
    this.box.hidden = false;
    const area = ((right - left) * (bottom - top)) / (width * height);
    const part = area >= 0.999 ? "the whole photo" : `the outlined area, ${Math.round(100 * area)} % of the photo`;
    this.caption.textContent = `The model sees ${part}.`;
  }
}
