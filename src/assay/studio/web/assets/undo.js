// Undo of the last edit, by a button or by Ctrl+Z.
import { call, t } from "./dom.js";
import { attempt, say } from "./messages.js";

export async function undo() {
  const answer = await attempt(() => call("/api/undo", { body: {} }));
  if (answer?.undone) say(t("undone", { what: answer.undone }));
}

// Whether a key is Ctrl+Z, or Cmd+Z on a Mac; the browser then ignores it.
export function isUndo(event) {
  const found = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
  if (found) event.preventDefault();
  return found;
}
