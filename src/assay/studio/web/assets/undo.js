// Undo of the last edit: by a <button data-undo>, or by Ctrl+Z.
import { call, t } from "./dom.js";
import { attempt, say } from "./messages.js";

// Undo and say what; null if nothing could be undone, which is shown as an error.
export async function undo() {
  const answer = await attempt(() => call("/api/undo", { body: {} }));
  if (answer?.undone) say(t("undone", { what: answer.undone }));
  return answer;
}

// Whether a key is Ctrl+Z, or Cmd+Z on a Mac.
export const isUndoKey = (event) => (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";

document.addEventListener("click", (event) => {
  if (event.target.closest("button[data-undo]")) undo();
});
