//! The script's own handleSummary(), run once, on the data of the whole test. Pure.
//!
//! Only k6 can run it: it is given a small script around the user's, which does nothing but call it. k6 writes the files
//! that it names, and what is kept of them is printed beside. <https://grafana.com/docs/k6/latest/results-output/end-of-test/custom-summary/>
//!
//! k6 itself decides what handleSummary() receives: its flags and its environment choose between two shapes, and a
//! later version may choose another default. So the script looks at what k6 gives it, and hands on the merged data in
//! that shape.

use super::log_chunks::{self, LONGEST, MARK};
use crate::k6::log::last_words;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The options of a script that act on what handleSummary() does, and not on the load: its requests, and how long it
/// may take. <https://grafana.com/docs/k6/latest/using-k6/k6-options/reference/>
const OPTIONS: [&str; 18] = [
    "batch",
    "batchPerHost",
    "blacklistIPs",
    "blockHostnames",
    "discardResponseBodies",
    "dns",
    "handleSummaryTimeout",
    "hosts",
    "insecureSkipTLSVerify",
    "maxRedirects",
    "noConnectionReuse",
    "noVUConnectionReuse",
    "summaryTimeUnit",
    "summaryTrendStats",
    "throw",
    "tlsAuth",
    "tlsCipherSuites",
    "tlsVersion",
];

/// As much of what handleSummary() returns is kept, in bytes: a ConfigMap has no room for more.
const LARGEST_OUTPUTS: usize = 1_000_000;

/// What the runner that calls handleSummary() is given: the merged data, in each shape that k6 has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// What handleSummary() receives, as JSON.
    pub data: String,
    /// The same of a k6 that makes machine-readable summaries.
    pub machine_readable: String,
    /// The text that k6 prints if a script has no handleSummary(), or if it fails.
    pub text: String,
    /// What `--summary-export` names gets this.
    pub export: String,
}

/// Whether a script may have a handleSummary(). Of one that has none for certain, k6 need not load the script again.
pub fn may_have(script: &str) -> bool {
    // It can be exported by its name, through another module, as CommonJS has it, and by a name with an escape.
    let through_another = script.split("export").skip(1).any(|rest| {
        let rest = rest.trim_start();
        rest.starts_with('*') || rest.starts_with("/*") || rest.starts_with("//")
    });
    through_another
        || ["handleSummary", "exports", "\\u"]
            .iter()
            .any(|name| script.contains(name))
}

/// The script around the user's, which is at this absolute path. k6 reads it from its standard input, in the folder of
/// the user's script, so that all that the script names by a relative path is found. What handleSummary() returns for
/// relative paths is written where it would be, in the folder in which k6 was begun, which is `base`. `setup_data` is
/// what setup() returned, as JSON; none if that was undefined.
pub fn script(user: &str, task: &Task, setup_data: Option<&str>, base: &str) -> String {
    let Task {
        data,
        machine_readable,
        text,
        export: _,
    } = task;
    let (user, base) = (quoted(user), quoted(base));
    let (data, machine_readable, text) = (quoted(data), quoted(machine_readable), quoted(text));
    let setup_data = setup_data.map_or_else(
        || "undefined".to_owned(),
        |json| format!("JSON.parse({})", quoted(json)),
    );
    let options = Value::from(OPTIONS.to_vec());
    format!(
        r#"// Calls the test's own handleSummary() once, on the data of all runners.
import encoding from "k6/encoding";
import {{ Trend }} from "k6/metrics";
import * as test from {user};

export const options = {{}};
for (const name of {options}) {{
  if (test.options && test.options[name] !== undefined) options[name] = test.options[name];
}}
options.vus = 1;
options.iterations = 1;

const source = open({user});
// A machine-readable summary has the phases of requests in the mode "full" only.
const phase = new Trend("http_req_waiting", true);

export default function () {{
  phase.add(0);
}}

// The data in the shape in which this k6 gives its own, and how a machine-readable one is kept.
function inShapeOf(own) {{
  const machineReadable = {machine_readable};
  if (!machineReadable || !own || !own.results || !own.metadata)
    return {{ data: {{ ...JSON.parse({data}), setup_data: {setup_data} }} }};
  const {{ summary, phases }} = JSON.parse(machineReadable);
  const {{ config, results }} = summary;
  const full = own.results.metrics.some((metric) => metric.name === phase.name);
  if (full) results.metrics.push(...phases);
  const {{ generated_at, k6_version }} = own.metadata;
  const kept = {{ version: own.version, metadata: {{ generated_at, k6_version }}, config, results }};
  const text = JSON.stringify(kept);
  return {{ data: {{ ...kept, config: {{ ...config, script: source }} }}, summary: text }};
}}

// What is kept beside the files, as far as there is room for it.
function copied(outputs) {{
  const copy = {{ outputs: {{}}, leftOut: [] }};
  let room = {LARGEST_OUTPUTS};
  for (const [file, content] of Object.entries(outputs)) {{
    const isText = typeof content === "string";
    const size = isText ? content.length : content.byteLength;
    if (size > room) {{
      copy.leftOut.push(file);
      continue;
    }}
    room -= size;
    copy.outputs[file] = isText ? {{ text: content }} : {{ base64: encoding.b64encode(content) }};
  }}
  return copy;
}}

function checked(outputs) {{
  for (const [file, content] of Object.entries(outputs)) {{
    if (typeof content !== "string" && !(content instanceof ArrayBuffer))
      throw new Error(`it returned for ${{file}} neither a string nor an ArrayBuffer`);
  }}
  return outputs;
}}

// As k6 writes it, and once more for the operator, in lines that are taken out of the log.
function written(outputs, said) {{
  const ascii = (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0");
  const text = JSON.stringify(said).replace(/[\u0080-\uffff]/g, ascii);
  let lines = "\n";
  for (let i = 0; i < text.length; i += {LONGEST}) lines += "{MARK}" + text.slice(i, i + {LONGEST}) + "\n";
  const files = {{}};
  for (const [file, content] of Object.entries(outputs)) {{
    const named = file === "stdout" || file === "stderr" || file.startsWith("/");
    files[named ? file : {base} + "/" + file] = content;
  }}
  const stream = typeof (files.stdout || "") === "string" ? "stdout" : "stderr";
  files[stream] = (files[stream] || "") + lines;
  return files;
}}

export async function handleSummary(own) {{
  const {{ data, summary }} = inShapeOf(own);
  const ownText = {{ stdout: "\n" + {text} + "\n" }};
  try {{
    const outputs = test.handleSummary ? await test.handleSummary(data) : null;
    if (!outputs) return written(ownText, {{ summary }});
    return written(checked(outputs), {{ ...copied(outputs), summary }});
  }} catch (error) {{
    return written(ownText, {{ error: String((error && error.stack) || error), summary }});
  }}
}}
"#
    )
}

/// As a string of JavaScript, which JSON's are but for two line ends.
fn quoted(text: &str) -> String {
    let text = Value::from(text).to_string();
    text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    #[serde(default)]
    outputs: BTreeMap<String, Content>,
    #[serde(default)]
    left_out: Vec<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    summary: Option<String>,
}

/// What handleSummary() returned for a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Content {
    /// A string.
    Text(String),
    /// An ArrayBuffer, in Base64.
    Base64(String),
}

impl Content {
    /// About how many bytes it takes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Base64(text) => text.len() / 4 * 3,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        let (Self::Text(text) | Self::Base64(text)) = self;
        text.is_empty()
    }
}

/// What came of the script's handleSummary().
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Handled {
    /// What it returned; nothing if the script has none, or k6 was told to make no summary.
    pub outputs: BTreeMap<String, Content>,
    /// The files for which it returned more than is kept.
    pub left_out: Vec<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// The data that it received, but for the source of the script, if k6 makes machine-readable summaries.
    pub summary: Option<String>,
}

impl Handled {
    /// What is told where it has failed.
    pub fn failed(error: String) -> Self {
        Self {
            error: Some(error),
            ..Self::default()
        }
    }

    /// Of a k6 that printed this, and that has ended with this code; none if it did not end in time.
    pub fn of(printed: &str, code: Option<i32>) -> Self {
        let failed = Self::failed;
        let Some(said) = log_chunks::joined(printed) else {
            return match (error_of(printed), code) {
                (Some(error), _) => failed(format!("k6 has no result of handleSummary(): {error}")),
                // It was told to make no summary, and calls no handleSummary() then.
                (None, Some(0)) => Self::default(),
                (None, Some(code)) => failed(format!(
                    "k6 ended with exit code {code} and did not call handleSummary(): {}",
                    last_words(printed)
                )),
                (None, None) => failed("handleSummary() did not end in time".to_owned()),
            };
        };
        match serde_json::from_str(&said) {
            Ok(Said {
                outputs,
                left_out,
                error,
                summary,
            }) => Self {
                outputs,
                left_out,
                // k6 itself says what it could not write.
                error: error
                    .map(|error| format!("handleSummary() failed: {error}"))
                    .or_else(|| error_of(printed)),
                summary,
            },
            Err(error) => failed(format!("what k6 said of handleSummary() can't be read: {error}")),
        }
    }
}

/// The longest error of k6 that is told, in characters.
const LONGEST_ERROR: usize = 500;

/// The last error in k6's log that no script wrote: `level=error msg="..." error="..."`.
fn error_of(log: &str) -> Option<String> {
    let errors = log.lines().filter(|line| !line.contains("source=console"));
    let (_, error) = errors
        .filter_map(|line| line.split_once("level=error "))
        .next_back()?;
    Some(error.trim().chars().take(LONGEST_ERROR).collect())
}

/// Whether a line that k6 printed is for the operator, and not for the log.
pub fn is_ours(line: &[u8]) -> bool {
    line.starts_with(MARK.as_bytes())
}
