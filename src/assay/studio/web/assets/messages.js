// Short messages and errors at the edge of the page, in front of an open dialog.
import { byId, el, t } from "./dom.js";

const SHOWN_MS = 5000;

// An open dialog covers the rest of the page and makes it inert: messages are shown inside it.
function place() {
  (document.querySelector("dialog[open]") ?? document.body).append(byId("messages"), byId("errors"));
}

document.addEventListener("close", place, true);

export function say(text) {
  place();
  const message = el("p", { className: "toast", textContent: text });
  byId("messages").replaceChildren(message);
  setTimeout(() => message.remove(), SHOWN_MS);
}

// Errors stay until they are closed or something works again.
export function complain(text) {
  place();
  const close = el("button", { className: "plain", textContent: "✕", ariaLabel: t("close") });
  close.addEventListener("click", clearErrors);
  byId("errors").replaceChildren(el("p", { className: "toast wrong" }, text, close));
}

export const clearErrors = () => byId("errors").replaceChildren();

// Run an action and show its error.
export async function attempt(action) {
  try {
    const result = await action();
    clearErrors();
    return result;
  } catch (error) {
    complain(error.message);
    return null;
  }
}
