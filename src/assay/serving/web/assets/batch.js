// Classify many photos, two at a time, and offer the predictions as a CSV file.
import { labelText, ranked } from "./answer.js";
import { classify } from "./api.js";
import { byId, counted, el, onDrop, percent, save, wait } from "./dom.js";
import { addToHistory } from "./history.js";

const MAX_CONCURRENT = 2;
const MAX_ATTEMPTS = 5;
let rows = [];
let run = 0; // incremented on every start and stop, so that an old loop ends

export function setUpBatch() {
  const input = byId("batch-file");
  input.addEventListener("change", () => { const files = [...input.files]; input.value = ""; if (files.length) classifyAll(files); });
  onDrop(byId("batch-drop"), classifyAll);
  byId("batch-stop").addEventListener("click", () => { run += 1; finished("Stopped"); });
  byId("batch-save").addEventListener("click", () => save(table(), "predictions.csv", "text/csv"));
}

async function classifyAll(files) {
  const current = ++run;
  rows = files.map((file) => ({ file, line: tableRow(file.name) }));
  const ownRows = rows;
  byId("batch-table").tBodies[0].replaceChildren(...rows.map((row) => row.line));
  byId("batch-table").hidden = byId("batch-stop").hidden = false;
  byId("batch-save").hidden = true;
  const pending = [...rows];
  const worker = async () => {
    while (pending.length && current === run) {
      await classifyRow(pending.shift(), current);
      if (current === run) byId("batch-state").textContent = `${ownRows.filter((row) => row.done).length} of ${counted(ownRows.length, "photo")}`;
    }
  };
  await Promise.all(Array.from({ length: MAX_CONCURRENT }, worker));
  if (current === run) finished("Done");
}

function finished(word) {
  const failed = rows.filter((row) => row.error).length;
  const count = rows.filter((row) => row.done).length;
  byId("batch-stop").hidden = true;
  byId("batch-save").hidden = !count;
  byId("batch-state").textContent = `${word}: ${count} of ${counted(rows.length, "photo")}${failed ? `, ${failed} failed` : ""}`;
}

function tableRow(name) {
  return el("tr", {}, el("th", { scope: "row", textContent: name }), el("td", { textContent: "…" }), el("td"));
}

async function classifyRow(row, current) {
  const [, label, confidence] = row.line.cells;
  for (let attempt = 1; !row.done && current === run; attempt += 1) {
    try {
      row.answer = await classify(row.file);
      row.done = true;
      label.textContent = labelText(row.answer);
      confidence.textContent = percent(ranked(row.answer.probabilities)[0][1]);
      addToHistory(row.file, row.answer);
    } catch (error) {
      if ([429, 503].includes(error.status) && attempt < MAX_ATTEMPTS) {
        label.textContent = "waiting to retry…";
        await wait(1000 * (error.seconds ?? attempt));
      } else {
        [row.done, row.error] = [true, error.message];
        label.textContent = error.message;
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

// Spreadsheets would evaluate text that begins like this as a formula; the rule is that of assay.core.tables.
const FORMULA = /^'*(?:[\t\r\n]|[\s\u0000-\u001f\u007f-\u00a0\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20\u2212])/;
const NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/;

function cell(value) {
  const formula = typeof value === "string" && FORMULA.test(value) && !NUMBER.test(value);
  const text = formula ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
