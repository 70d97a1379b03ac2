// Render the Markdown of a model card: headings, paragraphs, lists, tables, code and bold.
import { el } from "./dom.js";

export function markdown(text) {
  const blocks = text.trim().split(/\n{2,}/);
  return blocks.map((block) => renderBlock(block.split("\n")));
}

function renderBlock(lines) {
  const heading = /^(#{1,4}) (.*)/.exec(lines[0]);
  if (heading && lines.length === 1) return el(`h${Math.min(6, heading[1].length + 1)}`, {}, ...inline(heading[2]));
  if (lines.every((line) => line.startsWith("- "))) {
    return el("ul", {}, ...lines.map((line) => el("li", {}, ...inline(line.slice(2)))));
  }
  if (lines.length > 1 && lines[0].startsWith("|") && /^\|[\s|:-]+\|$/.test(lines[1])) return table(lines);
  return el("p", {}, ...inline(lines.join(" ")));
}

function table([head, , ...rows]) {
  const cells = (line) => line.replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim());
  const row = (line, tag, properties) => el("tr", {}, ...cells(line).map((cell) => el(tag, properties, ...inline(cell))));
  return el("table", {}, el("thead", {}, row(head, "th", { scope: "col" })),
    el("tbody", {}, ...rows.map((line) => row(line, "td", {}))));
}

function inline(text) {
  const plain = (part) => part.replace(/\\([\\`*_{}[\]()#+\-.!|<>~])/g, "$1");
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`") && part.length > 1) return el("code", { textContent: part.slice(1, -1) });
    if (part.startsWith("**") && part.length > 3) return el("strong", { textContent: plain(part.slice(2, -2)) });
    return plain(part);
  });
}
