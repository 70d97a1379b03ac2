// An answer for people: in large letters, with a bar for every class.
import { el, percent } from "./dom.js";

const SHOWN = 10;
const WHY = {
  low_confidence: "The model is not sure enough: do not rely on this.",
  out_of_distribution: "The photo is unlike those that the model was trained on: do not rely on this.",
};

export function ranked(probabilities) {
  return Object.entries(probabilities).sort((one, other) => other[1] - one[1]);
}

// What is said of a photo: the label that the API answers, and whether it may be relied upon.
export function said(answer) {
  return `${ranked(answer.probabilities)[0][0]}${answer.unknown ? " (unsure)" : ""}`;
}

export function showAnswer(place, answer, note = "") {
  const sure = `${percent(ranked(answer.probabilities)[0][1])} sure.`;
  const why = answer.unknown ? `${sure} ${WHY[answer.reason] ?? WHY.low_confidence}` : sure;
  place.replaceChildren(
    el("p", { className: answer.unknown ? "answer unknown" : "answer", textContent: said(answer) }),
    el("p", { className: "told", textContent: `${why} ${note}`.trim() }),
  );
}

export function showBars(place, probabilities) {
  const rows = ranked(probabilities).map(([name, share]) => bar(name, share));
  const first = el("ul", { className: "bars", ariaLabel: "Confidence by class" }, ...rows.slice(0, SHOWN));
  place.replaceChildren(first);
  if (rows.length > SHOWN) {
    const rest = el("ul", { className: "bars" }, ...rows.slice(SHOWN));
    place.append(el("details", {}, el("summary", { textContent: `${rows.length - SHOWN} more classes` }), rest));
  }
}

function bar(name, share) {
  const fill = el("span");
  fill.style.width = `${100 * share}%`;
  const track = el("span", { className: "track", ariaHidden: "true" }, fill);
  return el("li", {}, el("span", { className: "name", textContent: name }), el("span", { textContent: percent(share) }), track);
}
