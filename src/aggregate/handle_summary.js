// Calls the test's own handleSummary() once, with the data of all runners. The operator puts two statements before this
// file: the import of the test as `test`, and the constant `given`.
import encoding from "k6/encoding";
import { Trend } from "k6/metrics";

export const options = {};
for (const name of given.options) {
  if (test.options && test.options[name] !== undefined) options[name] = test.options[name];
}
options.vus = 1;
options.iterations = 1;

const source = open(given.script);
// A machine-readable summary has the phases of requests in the mode "full" only.
const phase = new Trend("http_req_waiting", true);

export default function () {
  phase.add(0);
}

// The data in the shape of this k6, and the text of a machine-readable summary to keep.
function inShapeOf(own) {
  if (!given.machineReadable || !own || !own.results || !own.metadata) {
    const setup_data = given.setupData === null ? undefined : JSON.parse(given.setupData);
    return { data: { ...JSON.parse(given.data), setup_data } };
  }
  const { summary, phases } = JSON.parse(given.machineReadable);
  const { config, results } = summary;
  const full = own.results.metrics.some((metric) => metric.name === phase.name);
  if (full) results.metrics.push(...phases);
  const { generated_at, k6_version } = own.metadata;
  const kept = { version: own.version, metadata: { generated_at, k6_version }, config, results };
  const text = JSON.stringify(kept);
  return { data: { ...kept, config: { ...config, script: source } }, summary: text };
}

// A copy of what handleSummary() returned, as far as there is room.
function copied(outputs) {
  const copy = { outputs: {}, leftOut: [] };
  let room = given.largestOutputs;
  for (const [file, content] of Object.entries(outputs)) {
    const isText = typeof content === "string";
    const size = isText ? content.length : content.byteLength;
    if (size > room) {
      copy.leftOut.push(file);
      continue;
    }
    room -= size;
    copy.outputs[file] = isText ? { text: content } : { base64: encoding.b64encode(content) };
  }
  return copy;
}

function checked(outputs) {
  for (const [file, content] of Object.entries(outputs)) {
    if (typeof content !== "string" && !(content instanceof ArrayBuffer))
      throw new Error(`it returned for ${file} neither a string nor an ArrayBuffer`);
  }
  return outputs;
}

// The files for k6 to write, and a report to the operator in marked lines, which are removed from the log.
function written(outputs, said) {
  const ascii = (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0");
  const text = JSON.stringify(said).replace(/[\u0080-\uffff]/g, ascii);
  let lines = "\n";
  for (let i = 0; i < text.length; i += given.longestLine) lines += given.mark + text.slice(i, i + given.longestLine) + "\n";
  const files = {};
  for (const [file, content] of Object.entries(outputs)) {
    const named = file === "stdout" || file === "stderr" || file.startsWith("/");
    files[named ? file : given.base + "/" + file] = content;
  }
  const stream = typeof (files.stdout || "") === "string" ? "stdout" : "stderr";
  files[stream] = (files[stream] || "") + lines;
  return files;
}

export async function handleSummary(own) {
  const { data, summary } = inShapeOf(own);
  const ownText = { stdout: "\n" + given.text + "\n" };
  try {
    const outputs = test.handleSummary ? await test.handleSummary(data) : null;
    if (!outputs) return written(ownText, { summary });
    return written(checked(outputs), { ...copied(outputs), summary });
  } catch (error) {
    return written(ownText, { error: String((error && error.stack) || error), summary });
  }
}
