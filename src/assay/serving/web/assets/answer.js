// Show a prediction: its label, its confidence, and one bar per class.
import { el, percent } from "./dom.js";

const MAX_BARS = 10;
const REASONS = {
  low_confidence: "The confidence is below the threshold; do not rely on this prediction.",
  out_of_distribution: "The photo differs from the training photos; do not rely on this prediction.",
};

export function ranked(probabilities) {
  return Object.entries(probabilities).sort(([, first], [, second]) => second - first);
}

// The most likely label, marked where the model abstains.
export function labelText(answer) {
  return `${ranked(answer.probabilities)[0][0]}${answer.unknown ? " (uncertain)" : ""}`;
}

export function showAnswer(place, answer, note = "") {
  const confidence = `Confidence ${percent(ranked(answer.probabilities)[0][1])}.`;
  const text = answer.unknown ? `${confidence} ${REASONS[answer.reason] ?? REASONS.low_confidence}` : confidence;
  place.replaceChildren(
    el("p", { className: answer.unknown ? "answer unknown" : "answer", textContent: labelText(answer) }),
    el("p", { className: "explanation", textContent: `${text} ${note}`.trim() }),
  );
}

export function showBars(place, probabilities) {
  const rows = ranked(probabilities).map(([name, share]) => bar(name, share));
  const list = el("ul", { className: "bars", ariaLabel: "Confidence by class" }, ...rows.slice(0, MAX_BARS));
  place.replaceChildren(list);
  if (rows.length > MAX_BARS) {
    const rest = el("ul", { className: "bars" }, ...rows.slice(MAX_BARS));
    place.append(el("details", {}, el("summary", { textContent: `${rows.length - MAX_BARS} more classes` }), rest));
  }
}

function bar(name, share) {
  const meter = el("meter", { value: share, min: 0, max: 1, ariaLabel: name });
  return el("li", {}, el("span", { className: "name", textContent: name }), el("span", { textContent: percent(share) }), meter);
}
