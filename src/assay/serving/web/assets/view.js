// A picture or video with the part outlined that the model looks at.
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

  // Left, top, right, bottom in pixels of a picture of this width and height.
  outline([left, top, right, bottom], [width, height]) {
    const share = (part, whole) => `${(100 * part) / whole}%`;
    Object.assign(this.box.style, {
      left: share(left, width), top: share(top, height),
      width: share(right - left, width), height: share(bottom - top, height),
    });
    this.box.hidden = false;
    const seen = ((right - left) * (bottom - top)) / (width * height);
    const part = seen >= 0.999 ? "the whole photo" : `the outlined part, ${Math.round(100 * seen)} % of the photo`;
    this.caption.textContent = `The model looks at ${part}.`;
  }
}
