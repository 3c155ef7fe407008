// Puts the report's parts and a run's data into one page, as the operator does: in one pass, so that what has been
// put in is never looked at again.
import { readFileSync } from "node:fs";

const parts = new URL("../../src/aggregate/report/", import.meta.url);
export const part = (name) => readFileSync(new URL(name, parts), "utf8");
const escape = (text) => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

// `head` is what a test wants to run before all else.
export function assemble(report, head = "") {
  const values = {
    style: part("page.css"),
    script: part("page.js"),
    uplot_style: part("uplot.min.css"),
    uplot: part("uplot.min.js"),
    title: escape(report.name),
    data: JSON.stringify(report).replaceAll("<", "\\u003c"),
  };
  const page = part("page.html").replace(/\{\{(\w+)\}\}/g, (_, name) => values[name]);
  return page.replace('<meta charset="utf-8">', (meta) => meta + head);
}
