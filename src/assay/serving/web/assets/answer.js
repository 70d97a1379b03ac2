// An answer for people: in large letters, with a bar for every class.
import { el, percent } from "./dom.js";

const SHOWN = 10;
const WHY = {
  unsure: "The model is not sure enough to say.",
  unfamiliar: "The photo is unlike those that the model learned from.",
};

export function ranked(probabilities) {
  return Object.entries(probabilities).sort((one, other) => other[1] - one[1]);
}

// What is said of a photo, in one word or name.
export function said(answer) {
  return answer.unknown ? "unknown" : ranked(answer.probabilities)[0][0];
}

export function showAnswer(place, answer, note = "") {
  const [label, share] = ranked(answer.probabilities)[0];
  const why = answer.unknown
    ? `${WHY[answer.reason] ?? WHY.unsure} Closest: ${label}, ${percent(share)}.`
    : `${percent(share)} sure.`;
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
