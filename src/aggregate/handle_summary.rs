//! The call of the script's own handleSummary(), once, with the data of the whole test. Pure.
//!
//! Only k6 can call it. A small script around the user's does nothing else. k6 writes the files that handleSummary()
//! names, and the script prints a copy of them.
//! <https://grafana.com/docs/k6/latest/results-output/end-of-test/custom-summary/>
//!
//! What handleSummary() gets depends on k6: flags and variables choose between two shapes, and a later version may have
//! another default. So the script looks at the data that k6 passes and replaces it by the merged data in the same
//! shape.

use super::log_chunks::{self, LONGEST, MARK};
use crate::k6::log::last_words;
use crate::k6::summary::OPTIONS;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The script that calls handleSummary(), but for its first two statements.
const SCRIPT: &str = include_str!("handle_summary.js");

/// How much of what handleSummary() returns is kept, in bytes. A ConfigMap has no room for more.
const LARGEST_OUTPUTS: usize = 1_000_000;

/// The merged data for the runner that calls handleSummary(), in each shape that k6 has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// The data for handleSummary(), as JSON.
    pub data: String,
    /// The data for handleSummary() in a k6 that makes machine-readable summaries, as JSON.
    pub machine_readable: String,
    /// The text that k6 prints if the script has no handleSummary(), or if handleSummary() fails.
    pub text: String,
    /// The content for the file that `--summary-export` names.
    pub export: String,
}

/// Whether a script may have a handleSummary(). If it surely has none, k6 does not have to load the script again.
pub fn may_have(script: &str) -> bool {
    // handleSummary() can be exported by its name, from another module, as CommonJS does, or by a name with an escape.
    let through_another = script.split("export").skip(1).any(|rest| {
        let rest = rest.trim_start();
        rest.starts_with('*') || rest.starts_with("/*") || rest.starts_with("//")
    });
    through_another
        || ["handleSummary", "exports", "\\u"]
            .iter()
            .any(|name| script.contains(name))
}

/// The script around the user's, whose absolute path is `user`. k6 reads it from its standard input, in the folder of
/// the user's script, so that relative paths in the script are found. Files that handleSummary() names by a relative
/// path are written below `base`, the folder in which the runner's k6 started. `setup_data` is what setup() returned,
/// as JSON; None if it returned undefined.
pub fn script(user: &str, task: &Task, setup_data: Option<&str>, base: &str) -> String {
    let Task {
        data,
        machine_readable,
        text,
        export: _,
    } = task;
    let given = json!({
        "script": user,
        "base": base,
        "options": OPTIONS,
        "data": data,
        "machineReadable": machine_readable,
        "text": text,
        "setupData": setup_data,
        "largestOutputs": LARGEST_OUTPUTS,
        "longestLine": LONGEST,
        "mark": MARK,
    });
    let (user, given) = (literal(&json!(user)), literal(&given));
    format!("import * as test from {user};\nconst given = {given};\n{SCRIPT}")
}

/// Writes JSON as a JavaScript literal. JSON is one, except for two line ends.
fn literal(value: &Value) -> String {
    let text = value.to_string();
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

/// The content that handleSummary() returned for a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Content {
    /// A string.
    Text(String),
    /// An ArrayBuffer, in Base64.
    Base64(String),
}

impl Content {
    /// The size of the content in bytes, about.
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

/// The result of the script's handleSummary().
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Handled {
    /// The files that it returned. Empty if the script has none, or if k6 was told to make no summary.
    pub outputs: BTreeMap<String, Content>,
    /// The files that were too large to be kept.
    pub left_out: Vec<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// The data that it got, without the source of the script, if k6 makes machine-readable summaries.
    pub summary: Option<String>,
}

impl Handled {
    /// The result of a call that failed.
    pub fn failed(error: String) -> Self {
        Self {
            error: Some(error),
            ..Self::default()
        }
    }

    /// Reads the result from the output of the k6 that called handleSummary(), and its exit code; None if it did not
    /// end in time.
    pub fn of(printed: &str, code: Option<i32>) -> Self {
        let failed = Self::failed;
        let Some(said) = log_chunks::joined(printed) else {
            return match (error_of(printed), code) {
                (Some(error), _) => failed(format!("k6 has no result of handleSummary(): {error}")),
                // A k6 that was told to make no summary does not call handleSummary().
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
                // k6 reports which files it could not write.
                error: error
                    .map(|error| format!("handleSummary() failed: {error}"))
                    .or_else(|| error_of(printed)),
                summary,
            },
            Err(error) => failed(format!("what k6 said of handleSummary() can't be read: {error}")),
        }
    }
}

/// The longest error of k6 that is kept, in characters.
const LONGEST_ERROR: usize = 500;

/// The last error in k6's log, other than those that the script wrote: `level=error msg="..." error="..."`.
fn error_of(log: &str) -> Option<String> {
    let errors = log.lines().filter(|line| !line.contains("source=console"));
    let (_, error) = errors
        .filter_map(|line| line.split_once("level=error "))
        .next_back()?;
    Some(error.trim().chars().take(LONGEST_ERROR).collect())
}

/// Whether a line of k6's output is a message to the operator, which is removed from the log.
pub fn is_ours(line: &[u8]) -> bool {
    line.starts_with(MARK.as_bytes())
}
