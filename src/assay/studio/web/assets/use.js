// The step Use: the command of a rule on a camera, as it is filled in.
import { byId } from "./dom.js";

const quote = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);

function show(form) {
  const { run, source, label, confidence, seconds, program } = Object.fromEntries(new FormData(form));
  const rule = `${label ?? ""}>${confidence || 0} for ${seconds || 0}s`;
  const words = ["assay", "watch", `runs/${run}/model.assay`, source || "0", "--on", rule];
  if (program) words.push("--run", program);
  byId("rule-command").textContent = words.map(quote).join(" ");
}

const form = byId("rule");
if (form) {
  form.addEventListener("input", () => show(form));
  show(form);
}
