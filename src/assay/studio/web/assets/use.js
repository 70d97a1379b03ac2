// The step Use, a rule on a camera: its source, the classes, which are those of the run, and its command as it is filled in.
import { byId, call, el, t } from "./dom.js";
import { attempt, say } from "./messages.js";

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

// The list of cameras and videos and the field for typing show the same source.
function setUpSource(form) {
  const { source } = form.elements;
  const choice = byId("rule-choice");
  const mark = () => { choice.value = [...choice.options].some(({ value }) => value === source.value) ? source.value : ""; };
  const set = (value) => { source.value = value; mark(); show(form); };
  choice.addEventListener("change", () => (choice.value ? set(choice.value) : source.select()));
  source.addEventListener("input", mark);
  byId("rule-file").addEventListener("change", async ({ target }) => {
    const [file] = target.files;
    if (!file) return;
    target.value = "";
    say(t("rule_copying", { name: file.name }));
    const answer = await attempt(() => call(`/api/watch/video?${new URLSearchParams({ name: file.name })}`, { raw: file }));
    if (!answer) return;
    if (![...choice.options].some(({ value }) => value === answer.source)) choice.prepend(el("option", { value: answer.source, textContent: answer.source.replace("./", "") }));
    set(answer.source);
    say(t("rule_copied", { name: file.name }));
  });
  mark();
}

const form = byId("rule");
if (form) {
  form.elements.run.addEventListener("change", () => loadClasses(form));
  form.addEventListener("input", () => show(form));
  setUpSource(form);
  show(form);
}
