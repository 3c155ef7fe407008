//! The script's own handleSummary(), run once, on the data of the whole test. Pure.
//!
//! Only k6 can run it: it is given a small script around the user's, which does nothing but call it, and prints what
//! it returns. <https://grafana.com/docs/k6/latest/results-output/end-of-test/custom-summary/>
//!
//! k6 itself decides what handleSummary() receives: its flags and its environment choose between two shapes, and a
//! later version may choose another default. So the script looks at what k6 gives it, and hands on the merged data in
//! that shape.

use super::pieces::{self, LONGEST, MARK};
use crate::k6::log::last_words;
use serde::Deserialize;
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

/// What the script reads: the data in both shapes. The second is JSON too, or empty if nobody knows it.
pub fn data(data: &str, machine_readable: &str) -> String {
    let machine_readable = if machine_readable.is_empty() {
        "null"
    } else {
        machine_readable
    };
    format!(r#"{{"data":{data},"machineReadable":{machine_readable}}}"#)
}

/// The script around the user's at the one path, with [`data`] at the other. Both must be absolute.
pub fn script(user: &str, data: &str) -> String {
    let (user, data) = (quoted(user), quoted(data));
    let options = Value::from(OPTIONS.to_vec());
    format!(
        r#"// Calls the test's own handleSummary() once, on the data of all runners.
import {{ Trend }} from "k6/metrics";
import * as test from {user};

export const options = {{}};
for (const name of {options}) {{
  if (test.options && test.options[name] !== undefined) options[name] = test.options[name];
}}
options.vus = 1;
options.iterations = 1;

const merged = JSON.parse(open({data}));
const source = open({user});
// A machine-readable summary has the phases of requests in the mode "full" only.
const phase = new Trend("http_req_waiting", true);

export default function () {{
  phase.add(0);
}}

// The data in the shape in which this k6 gives its own, and how a machine-readable one is kept.
function inShapeOf(own) {{
  if (!merged.machineReadable || !own || !own.results || !own.metadata) return {{ data: merged.data }};
  const {{ summary, phases }} = merged.machineReadable;
  const {{ config, results }} = summary;
  const full = own.results.metrics.some((metric) => metric.name === phase.name);
  if (full) results.metrics.push(...phases);
  const {{ generated_at, k6_version }} = own.metadata;
  const kept = {{ version: own.version, metadata: {{ generated_at, k6_version }}, config, results }};
  const text = JSON.stringify(kept);
  return {{ data: {{ ...kept, config: {{ ...config, script: source }} }}, summary: text }};
}}

function texts(outputs) {{
  const files = {{}};
  for (const [file, content] of Object.entries(outputs || {{}})) {{
    if (typeof content === "string") files[file] = content;
    else if (content instanceof ArrayBuffer) files[file] = String.fromCharCode(...new Uint8Array(content));
    else throw new Error(`it returned for ${{file}} neither a string nor an ArrayBuffer`);
  }}
  return outputs && files;
}}

function printed(said) {{
  const ascii = (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0");
  const text = JSON.stringify(said).replace(/[\u0080-\uffff]/g, ascii);
  let lines = "\n";
  for (let i = 0; i < text.length; i += {LONGEST}) lines += "{MARK}" + text.slice(i, i + {LONGEST}) + "\n";
  return {{ stdout: lines }};
}}

export async function handleSummary(own) {{
  const {{ data, summary }} = inShapeOf(own);
  try {{
    const outputs = test.handleSummary ? await test.handleSummary(data) : null;
    return printed({{ outputs: texts(outputs), summary }});
  }} catch (error) {{
    return printed({{ error: String((error && error.stack) || error), summary }});
  }}
}}
"#
    )
}

/// As a string of JavaScript, which JSON's are.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    outputs: Option<BTreeMap<String, String>>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    summary: Option<String>,
}

/// What came of the script's handleSummary().
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handled {
    /// What it returned; nothing if the script has none, or k6 was told to make no summary.
    pub outputs: BTreeMap<String, String>,
    /// Why it failed.
    pub error: Option<String>,
    /// The data that it received, but for the source of the script, if k6 makes machine-readable summaries.
    pub summary: Option<String>,
}

impl Handled {
    /// Of a k6 that printed this, and whose container has ended with this code; none if it has not ended.
    pub fn of(printed: &str, code: Option<i32>) -> Self {
        let failed = |error: String| Self {
            error: Some(error),
            ..Self::default()
        };
        let Some(said) = pieces::joined(printed) else {
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
                error,
                summary,
            }) => Self {
                outputs: outputs.unwrap_or_default(),
                error: error.map(|error| format!("handleSummary() failed: {error}")),
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
