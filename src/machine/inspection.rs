//! What `k6 inspect --execution-requirements` prints, read.
//! Shape: the script's options, with `maxVUs` and `totalDuration` added.

use serde::Deserialize;
use std::collections::BTreeMap;
use thiserror::Error;

/// What a script needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Most virtual users at any time.
    pub max_vus: u64,
    /// As k6 prints it, such as `1m30s`.
    pub total_duration: String,
    /// The same in seconds, rounded up.
    pub total_seconds: u64,
    /// Seconds that setup() and teardown() may take together.
    pub setup_and_teardown_seconds: u64,
    /// Number of threshold expressions.
    pub thresholds: u32,
}

/// k6's output is not what this version of the operator can read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the output of k6 inspect could not be read: {0}")]
pub struct InspectionError(pub String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    #[serde(rename = "maxVUs")]
    max_vus: u64,
    total_duration: String,
    thresholds: Option<BTreeMap<String, Vec<serde::de::IgnoredAny>>>,
    setup_timeout: Option<String>,
    teardown_timeout: Option<String>,
}

/// k6's default for both: <https://grafana.com/docs/k6/latest/using-k6/k6-options/reference/#setup-timeout>
const SETUP_TIMEOUT_SECONDS: u64 = 60;

/// The first document in a log that is k6's answer. What a script logs when it is loaded stands there too, and may
/// have braces; with `K6_LOG_FORMAT=json` even its lines begin with one.
fn output(text: &str) -> Result<Output, InspectionError> {
    let mut first = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        if let Some(json) = text.get(start + indent..).filter(|json| json.starts_with('{')) {
            match read(json) {
                Ok(output) => return Ok(output),
                Err(error) => first = first.or(Some(error)),
            }
        }
        start += line.len();
    }
    let json = text.find('{').and_then(|start| text.get(start..)).unwrap_or(text);
    read(json).map_err(|error| first.unwrap_or(error))
}

fn read(json: &str) -> Result<Output, InspectionError> {
    let mut stream = serde_json::Deserializer::from_str(json).into_iter::<Output>();
    match stream.next() {
        Some(Ok(output)) => Ok(output),
        Some(Err(e)) => Err(InspectionError(e.to_string())),
        None => Err(InspectionError("it is empty".to_owned())),
    }
}

impl Inspection {
    /// Reads the output of k6.
    pub fn parse(text: &str) -> Result<Self, InspectionError> {
        let output = output(text)?;
        let seconds = |text: &str| {
            crate::build::seconds(text).ok_or_else(|| InspectionError(format!("{text:?} is no duration")))
        };
        let optional = |text: &Option<String>| match text {
            Some(text) => seconds(text),
            None => Ok(SETUP_TIMEOUT_SECONDS),
        };
        Ok(Self {
            max_vus: output.max_vus,
            total_seconds: seconds(&output.total_duration)?,
            setup_and_teardown_seconds: optional(&output.setup_timeout)?
                .saturating_add(optional(&output.teardown_timeout)?),
            total_duration: output.total_duration,
            thresholds: output.thresholds.map_or(0, |t| {
                u32::try_from(t.values().map(Vec::len).sum::<usize>()).unwrap_or(u32::MAX)
            }),
        })
    }
}
