// The step Understand: another run, the photos of a cell, the threshold.
import { byId, call, fetchFragment, percent, t } from "./dom.js";
import { attempt } from "./messages.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [600, 190, 40, 165];

byId("choose-run")?.addEventListener("change", (event) => {
  location.assign(`/understand?${new URLSearchParams({ run: event.target.value })}`);
});

document.addEventListener("click", async (event) => {
  const cell = event.target.closest("[data-cell]");
  if (!cell) return;
  document.querySelectorAll("[data-cell][aria-pressed]").forEach((other) => other.removeAttribute("aria-pressed"));
  cell.setAttribute("aria-pressed", "true");
  const found = await attempt(() => fetchFragment(cell.dataset.cell));
  if (!found) return;
  byId("cell-photos").replaceChildren(...found.nodes);
  byId("cell-photos").focus({ preventScroll: true });
  byId("cell-photos").scrollIntoView({ block: "nearest" });
});

const place = byId("threshold");
if (place) showThreshold(await call(place.dataset.source, { method: "GET" }));

function showThreshold(curve) {
  const slider = byId("threshold-slider");
  const marker = draw(curve);
  const update = () => {
    const least = Number(slider.value);
    // Thresholds fall along the curve: the last one that is at least `least`.
    let at = -1;
    while (at + 1 < curve.threshold.length && curve.threshold[at + 1] >= least) at += 1;
    const [answered, correct] = at < 0 ? [0, 0] : [curve.answered[at], curve.correct[at]];
    byId("threshold-value").textContent = percent(least);
    byId("threshold-precision").textContent = answered ? percent(correct / answered) : "–";
    byId("threshold-coverage").textContent = t("answered_of", { share: percent(answered / curve.total), answered, total: curve.total });
    byId("threshold-wrong").textContent = String(answered - correct);
    slider.setAttribute("aria-valuetext", `${percent(least)}, ${t("precision")} ${byId("threshold-precision").textContent}, ${t("coverage")} ${percent(answered / curve.total)}`);
    const link = byId("threshold-train");
    const target = Math.floor(1000 * correct / answered) / 1000;
    // Asking for less than all answers together have would change nothing.
    link.hidden = !answered || target <= 0.5 || target >= 1 || correct / answered <= curve.correct.at(-1) / curve.total;
    link.href = `/train?${new URLSearchParams({ correct: (100 * target).toFixed(1) })}`;
    link.textContent = t("threshold_aim", { value: percent(target) });
    marker(answered / curve.total, answered ? correct / answered : 1);
  };
  slider.addEventListener("input", update);
  slider.value = curve.used ?? 0;
  update();
}

// Draw precision over coverage; return a function that moves the marker.
function draw(curve) {
  const x = (share) => LEFT + (WIDTH - LEFT - 10) * share;
  const y = (share) => BOTTOM - 150 * share;
  const svg = node("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": t("threshold_curve", { total: curve.total }) });
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(node("line", { class: "axis", x1: x(0), x2: x(1), y1: y(share), y2: y(share) }));
    svg.append(label(100 * share, { x: LEFT - 6, y: y(share) + 4, "text-anchor": "end" }));
    svg.append(label(`${100 * share} %`, { x: x(share), y: HEIGHT - 6, "text-anchor": share === 1 ? "end" : "middle" }));
  }
  const points = curve.answered.map((count, at) => `${x(count / curve.total)},${y(curve.correct[at] / count)}`);
  const marker = node("circle", { class: "best", r: 6 });
  svg.append(node("polyline", { class: "line", points: points.join(" ") }), marker);
  byId("threshold-curve").replaceChildren(svg);
  return (coverage, precision) => { marker.setAttribute("cx", x(coverage)); marker.setAttribute("cy", y(precision)); };
}

function node(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function label(text, attributes) {
  const element = node("text", { class: "tick", ...attributes });
  element.textContent = text;
  return element;
}
