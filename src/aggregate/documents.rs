//! The documents that are kept of a test: its summary, its report, and the files of handleSummary(). Pure.
//!
//! The aggregator prints all of them at once, in numbered lines of its log, and no more than the operator reads. What
//! has no room is left out and named. The text of the summary is never left out.

use super::handle_summary::{Content, Handled};
use super::log_chunks;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The longest text of a summary, in bytes.
const LONGEST_TEXT: usize = 200_000;
/// The longest `summary.json`, in bytes.
const LONGEST_DATA: usize = 600_000;
/// The most bytes of all documents as they are printed. A ConfigMap has room for less.
pub const LONGEST: usize = 2_000_000;

/// The end of a text that was cut.
const CUT: &str = "\n  (the rest is left out: it is too long to be kept)\n";

/// The documents of a test.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Documents {
    /// The data for `handleSummary()`: `summary.json`.
    pub data: String,
    /// The text of the summary: `summary.txt`.
    pub text: String,
    /// The data of the report's page.
    pub report: Value,
    /// The files that handleSummary() returned.
    pub outputs: BTreeMap<String, Content>,
    /// Why handleSummary() failed.
    pub error: Option<String>,
    /// The names of what was left out for lack of room.
    pub left_out: Vec<String>,
}

impl Documents {
    /// Selects the documents of a test for which there is room.
    pub fn of(data: Value, text: String, report: Value, handled: Handled) -> Self {
        let Handled {
            outputs,
            left_out,
            error,
            summary,
        } = handled;
        let mut documents = Self {
            data: String::new(),
            text,
            report,
            outputs,
            error,
            left_out: left_out.iter().map(|file| named(file)).collect(),
        };
        if documents.text.len() > LONGEST_TEXT {
            let end = documents.text.floor_char_boundary(LONGEST_TEXT);
            let end = documents
                .text
                .get(..end)
                .and_then(|text| text.rfind('\n'))
                .unwrap_or(end);
            documents.text.truncate(end);
            documents.text.push_str(CUT);
            documents.left_out.push("the rest of summary.txt".to_owned());
        }
        documents.data = documents.shortened(summary.unwrap_or_else(|| data.to_string()));
        if documents.size() > LONGEST {
            documents.report = Value::Null;
            documents.left_out.push("report.html".to_owned());
        }
        while documents.size() > LONGEST {
            let largest = documents.outputs.iter().max_by_key(|(_, content)| content.len());
            let Some(file) = largest.map(|(file, _)| file.clone()) else {
                break;
            };
            documents.outputs.remove(&file);
            documents.left_out.push(named(&file));
        }
        documents
    }

    /// `summary.json`, without its checks if it is too long with them.
    fn shortened(&mut self, data: String) -> String {
        if data.len() <= LONGEST_DATA {
            return data;
        }
        if let Ok(mut value) = serde_json::from_str::<Value>(&data) {
            without_checks(&mut value);
            let data = value.to_string();
            if data.len() <= LONGEST_DATA {
                self.left_out.push("the checks of summary.json".to_owned());
                return data;
            }
        }
        self.left_out.push("summary.json".to_owned());
        String::new()
    }

    fn size(&self) -> usize {
        serde_json::to_string(self).unwrap_or_default().len()
    }

    /// The documents as lines of a log.
    pub fn printed(&self) -> String {
        log_chunks::framed(&serde_json::to_string(self).unwrap_or_default())
    }

    /// Reads the documents from an aggregator's log, if they are complete there.
    pub fn parse(log: &str) -> Option<Self> {
        serde_json::from_str(&log_chunks::unframed(log)?).ok()
    }
}

/// The name under which a file of handleSummary() is kept.
fn named(file: &str) -> String {
    format!("handleSummary-{file}")
}

/// Removes the checks from the data, in either of its shapes. Groups stay.
fn without_checks(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                match field {
                    Value::Array(checks) if name == "checks" => checks.clear(),
                    Value::Array(_) | Value::Object(_) => without_checks(field),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(without_checks),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{Content, Documents, Handled, LONGEST, LONGEST_DATA};
    use serde_json::{Value, json};

    fn data(checks: usize) -> Value {
        let check = |i| json!({"name": format!("a check with a name {i}"), "passes": 1, "fails": 0});
        json!({
            "root_group": {"groups": [{"name": "a", "groups": [], "checks": (0..checks).map(check).collect::<Vec<_>>()}], "checks": []},
            "metrics": {"checks": {"type": "rate", "values": {"rate": 1.0}}},
        })
    }

    #[test]
    fn all_is_kept_where_there_is_room() {
        let handled = Handled {
            outputs: [("a.bin".to_owned(), Content::Base64("AP8=".to_owned()))].into(),
            ..Handled::default()
        };
        let documents = Documents::of(data(10), "text".to_owned(), json!({"live": false}), handled);
        assert_eq!(documents.left_out, Vec::<String>::new());
        assert!(documents.data.contains("a check with a name 9"));
        assert_eq!(Documents::parse(&documents.printed()), Some(documents));
    }

    #[test]
    fn summary_that_is_too_long_is_cut_by_name_and_never_empty() {
        let text = "  ✓ a check with a name\n".repeat(40_000);
        let file = |content: &str| Content::Text(content.to_owned());
        let handled = Handled {
            outputs: [
                ("small.txt".to_owned(), file("small")),
                ("large.txt".to_owned(), file(&"\"".repeat(900_000))),
            ]
            .into(),
            left_out: vec!["huge.txt".to_owned()],
            ..Handled::default()
        };
        let report = json!({"requests": vec!["x".repeat(1000); 700]});
        let documents = Documents::of(data(40_000), text, report, handled);
        assert_eq!(
            documents.left_out,
            [
                "handleSummary-huge.txt",
                "the rest of summary.txt",
                "the checks of summary.json",
                "report.html",
                "handleSummary-large.txt",
            ]
        );
        assert!(documents.text.starts_with("  ✓ a check") && documents.text.contains("is left out"));
        let kept: Value = serde_json::from_str(&documents.data).unwrap();
        assert_eq!(kept["metrics"]["checks"]["values"]["rate"], 1.0);
        assert_eq!(kept["root_group"]["groups"][0]["name"], "a");
        assert_eq!(documents.outputs.keys().collect::<Vec<_>>(), ["small.txt"]);
        let printed = documents.printed();
        assert!(printed.len() < LONGEST + LONGEST / 50, "{}", printed.len());
        assert_eq!(Documents::parse(&printed), Some(documents));
    }

    #[test]
    fn metrics_alone_can_be_too_long() {
        let metrics: serde_json::Map<String, Value> = (0..LONGEST_DATA / 20)
            .map(|i| (format!("a_metric_with_a_name_{i}"), Value::Null))
            .collect();
        let documents = Documents::of(
            json!({"metrics": metrics}),
            "text".to_owned(),
            Value::Null,
            Handled::default(),
        );
        assert_eq!(documents.left_out, ["summary.json"]);
        assert_eq!((documents.data.as_str(), documents.text.as_str()), ("", "text"));
    }
}
