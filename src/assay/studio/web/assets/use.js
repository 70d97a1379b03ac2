// The step Use: the classes of a rule on a camera, which are those of the run, and its command as it is filled in.
import { byId, call, el } from "./dom.js";
import { attempt } from "./messages.js";

const quote = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);

function show(form) {
  const { run, source, label, confidence, seconds, program } = Object.fromEntries(new FormData(form));
  const rule = `${label ?? ""}>${confidence || 0} for ${seconds || 0}s`;
  const words = ["assay", "watch", `runs/${run}/model.assay`, source || "0", "--on", rule];
  if (program) words.push("--run", program);
  byId("rule-command").textContent = words.map(quote).join(" ");
}

async function loadClasses(form) {
  const { run, label } = form.elements;
  const chosen = run.value;
  const answer = await attempt(() => call(`/api/runs/${encodeURIComponent(chosen)}/classes`, { method: "GET" }));
  if (run.value !== chosen) return; // another one was chosen meanwhile
  const before = label.value;
  const classes = answer?.classes ?? [];
  label.replaceChildren(...classes.map((name) => el("option", { value: name, textContent: name, selected: name === before })));
  show(form);
}

const form = byId("rule");
if (form) {
  form.elements.run.addEventListener("change", () => loadClasses(form));
  form.addEventListener("input", () => show(form));
  show(form);
}
