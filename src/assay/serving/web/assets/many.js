// Several photos, two at a time, and a table of their answers to take away.
import { ranked, said } from "./answer.js";
import { classify } from "./api.js";
import { byId, el, onDrop, percent, save, wait } from "./dom.js";
import { remember } from "./history.js";

const MAX_CONCURRENT = 2;
const TRIES = 5;
let rows = [];
let round = 0;

export function setUpMany() {
  const input = byId("many-file");
  input.addEventListener("change", () => { const files = [...input.files]; input.value = ""; if (files.length) run(files); });
  onDrop(byId("many-drop"), run);
  byId("many-stop").addEventListener("click", () => { round += 1; finished("Stopped"); });
  byId("many-save").addEventListener("click", () => save(table(), "answers.csv", "text/csv"));
}

async function run(files) {
  const mine = ++round;
  rows = files.map((file) => ({ file, line: line(file.name) }));
  const own = rows;
  byId("many-table").tBodies[0].replaceChildren(...rows.map((row) => row.line));
  byId("many-table").hidden = byId("many-stop").hidden = false;
  byId("many-save").hidden = true;
  const left = [...rows];
  const work = async () => {
    while (left.length && mine === round) {
      await answer(left.shift(), mine);
      if (mine === round) byId("many-state").textContent = `${own.filter((row) => row.done).length} of ${own.length} photos`;
    }
  };
  await Promise.all(Array.from({ length: MAX_CONCURRENT }, work));
  if (mine === round) finished("Done");
}

function finished(word) {
  const failed = rows.filter((row) => row.error).length;
  const count = rows.filter((row) => row.done).length;
  byId("many-stop").hidden = true;
  byId("many-save").hidden = !count;
  byId("many-state").textContent = `${word}: ${count} of ${rows.length} photos${failed ? `, ${failed} without an answer` : ""}`;
}

function line(name) {
  return el("tr", {}, el("th", { scope: "row", textContent: name }), el("td", { textContent: "…" }), el("td"));
}

async function answer(row, mine) {
  const [, told, sure] = row.line.cells;
  for (let attempt = 1; !row.done && mine === round; attempt += 1) {
    try {
      row.answer = await classify(row.file);
      row.done = true;
      told.textContent = said(row.answer);
      sure.textContent = percent(ranked(row.answer.probabilities)[0][1]);
      remember(row.file, row.answer);
    } catch (error) {
      if ([429, 503].includes(error.status) && attempt < TRIES) {
        told.textContent = "waits for its turn…";
        await wait(1000 * (error.seconds ?? attempt));
      } else {
        [row.done, row.error] = [true, error.message];
        told.textContent = error.message;
      }
    }
  }
}

function table() {
  const classes = Object.keys(rows.find((row) => row.answer)?.answer.probabilities ?? {});
  const head = ["photo", "label", "confidence", "unknown", "reason", "error", ...classes];
  const lines = rows.filter((row) => row.done).map(({ file, answer, error }) => {
    const [label, share] = answer ? ranked(answer.probabilities)[0] : ["", ""];
    const shares = classes.map((name) => answer?.probabilities[name] ?? "");
    return [file.name, label, share, answer?.unknown ?? "", answer?.reason ?? "", error ?? "", ...shares];
  });
  return [head, ...lines].map((cells) => cells.map(cell).join(",")).join("\r\n") + "\r\n";
}

// A spreadsheet would take text that begins so for a formula; the rule is that of assay.core.tables.
const FORMULA = /^'*(?:[\t\r\n]|[\s\u0000-\u001f\u007f-\u00a0\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20\u2212])/;
const NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/;

function cell(value) {
  const formula = typeof value === "string" && FORMULA.test(value) && !NUMBER.test(value);
  const text = formula ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
