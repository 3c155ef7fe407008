//! The script's own handleSummary(), run once, on the data of the whole test. Pure.
//!
//! Only k6 can run it: it is given a small script around the user's, which does nothing but call it, and prints what
//! it returns. <https://grafana.com/docs/k6/latest/results-output/end-of-test/custom-summary/>

use super::pieces::{self, LONGEST, MARK};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The script, around that at the one path, with the data at the other. Both must be absolute.
pub fn script(user: &str, data: &str) -> String {
    let (user, data) = (quoted(user), quoted(data));
    format!(
        r#"// Calls the test's own handleSummary() once, on the data of all runners.
import * as test from {user};
export const options = {{ vus: 1, iterations: 1 }};
const data = JSON.parse(open({data}));
export default function () {{}}
export function handleSummary() {{
  let said;
  try {{
    const outputs = test.handleSummary ? test.handleSummary(data) : null;
    const files = {{}};
    for (const [file, content] of Object.entries(outputs || {{}})) {{
      if (typeof content === "string") files[file] = content;
      else if (content instanceof ArrayBuffer) files[file] = String.fromCharCode(...new Uint8Array(content));
      else throw new Error(`it returned for ${{file}} neither a string nor an ArrayBuffer`);
    }}
    said = {{ outputs: outputs && files }};
  }} catch (error) {{
    said = {{ error: String((error && error.stack) || error) }};
  }}
  const ascii = (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0");
  const text = JSON.stringify(said).replace(/[\u0080-\uffff]/g, ascii);
  let lines = "\n";
  for (let i = 0; i < text.length; i += {LONGEST}) lines += "{MARK}" + text.slice(i, i + {LONGEST}) + "\n";
  return {{ stdout: lines }};
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
}

/// What handleSummary() returned, of what k6 printed; nothing if the script has none.
pub fn outputs(printed: &str) -> Result<BTreeMap<String, String>, String> {
    let said = pieces::joined(printed).ok_or("k6 did not call handleSummary()")?;
    let said: Said = serde_json::from_str(&said).map_err(|error| error.to_string())?;
    match said {
        Said {
            error: Some(error), ..
        } => Err(format!("handleSummary() failed: {error}")),
        Said { outputs, .. } => Ok(outputs.unwrap_or_default()),
    }
}
