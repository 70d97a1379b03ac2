// Example photos of the server, to be classified with a click.
import { ask, json } from "./api.js";
import { byId, el } from "./dom.js";
import { choose } from "./photo.js";

// Show the examples; a server without examples, or that refuses the key, shows none.
export async function loadExamples() {
  const { examples } = await json("web/examples").catch(() => ({ examples: [] }));
  byId("examples").hidden = !examples.length;
  byId("example-list").replaceChildren(...examples.map((example, number) => button(example, number)));
  for (const input of ["photo-file", "camera-take"]) byId(input).addEventListener("click", release);
}

function button({ name, thumbnail }, number) {
  const image = el("img", { alt: `Example ${name}`, src: `data:image/jpeg;base64,${thumbnail}` });
  const element = el("button", { ariaPressed: "false", title: name }, image);
  element.addEventListener("click", async () => {
    try {
      const content = await (await ask(`web/example?number=${number}`)).blob();
      release();
      element.ariaPressed = "true";
      choose(new File([content], name, { type: content.type }));
    } catch (error) {
      byId("photo-error").textContent = error.message;
    }
  });
  return element;
}

function release() {
  for (const element of byId("example-list").children) element.ariaPressed = "false";
}
