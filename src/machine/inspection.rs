//! Reads the output of `k6 inspect --execution-requirements`: the options of the script with `maxVUs` and
//! `totalDuration` added.

use crate::k6::Version;
use crate::k6::duration::whole_seconds;
use crate::k6::metrics::builtin;
use crate::k6::system_tags::{GROUP, SCENARIO, needs, reduced};
use crate::k6::threshold::{self, Selector, Submetric, Threshold};
use crate::protocol::inspected::Inspected;
use jiff::SignedDuration;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// k6's answer about a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The most virtual users at any time.
    pub max_vus: u64,
    /// The longest time that the scenarios can take, as k6 prints it, such as `1m30s`.
    pub total_duration: String,
    /// The same, rounded up to a whole second; zero if the test ends only when it is told to.
    pub longest: SignedDuration,
    /// How long setup() may take.
    pub setup_timeout: SignedDuration,
    /// How long teardown() may take.
    pub teardown_timeout: SignedDuration,
    /// True if the script's options leave out setup() or teardown().
    pub left_out: bool,
    /// The tags that k6 adds to all samples.
    pub tags: BTreeMap<String, String>,
    /// The limit of requests per second; None if there is none.
    pub rps: Option<u64>,
    /// Whether only the script itself may need the tag `scenario`: there is one, and no threshold names it.
    pub spare_scenario: bool,
    /// Whether only the script itself may need the tag `group`: no threshold names it.
    pub spare_group: bool,
    /// The system tags without those that nothing shows or needs. None if there is none of these, or the script sets its
    /// own.
    pub system_tags: Option<Vec<String>>,
    /// The script's own metrics that its thresholds name.
    pub script_metrics: BTreeSet<String>,
    /// Number of threshold expressions.
    pub thresholds: u32,
    /// What is wrong with one of the thresholds; None if all can be read.
    pub threshold_error: Option<String>,
    /// The version of k6; None if it is not known.
    pub version: Option<Version>,
    /// Whether it is sure that nothing in the script names a tag that the operator gives to samples.
    pub names_no_own_tag: bool,
    /// The options of the script that the aggregator needs, as JSON.
    pub options: String,
}

/// The output of k6 can't be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the output of k6 inspect could not be read: {0}")]
pub struct InspectionError(pub String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    #[serde(rename = "maxVUs")]
    max_vus: u64,
    total_duration: String,
    thresholds: Option<BTreeMap<String, Vec<IgnoredAny>>>,
    setup_timeout: Option<String>,
    teardown_timeout: Option<String>,
    rps: Option<Value>,
}

/// The options by which a script leaves out setup() or teardown().
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LeftOut {
    no_setup: Option<bool>,
    no_teardown: Option<bool>,
}

#[derive(Default, Deserialize)]
struct Tags {
    tags: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tagging {
    system_tags: Option<Vec<String>>,
    scenarios: Option<BTreeMap<String, IgnoredAny>>,
}

/// The options that the aggregator needs. Only these are read in full, however deep they are.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    thresholds: Option<Value>,
    summary_trend_stats: Option<Value>,
    summary_time_unit: Option<Value>,
}

/// k6's default for setup() and teardown(): <https://grafana.com/docs/k6/latest/using-k6/k6-options/reference/#setup-timeout>
const SETUP_TIMEOUT: SignedDuration = SignedDuration::from_secs(60);

/// Finds k6's answer in a log: the first document that can be read as one. The log has the output of the script too,
/// which may contain braces; with `K6_LOG_FORMAT=json` each of its lines begins with one.
fn output(text: &str) -> Result<(Output, &str), InspectionError> {
    let mut first = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        if let Some(json) = text.get(start + indent..).filter(|json| json.starts_with('{')) {
            match read(json) {
                Ok(output) => return Ok((output, json)),
                Err(error) => first = first.or(Some(error)),
            }
        }
        start += line.len();
    }
    let json = text.find('{').and_then(|start| text.get(start..)).unwrap_or(text);
    let output = read(json).map_err(|error| first.unwrap_or(error))?;
    Ok((output, json))
}

fn read<T: DeserializeOwned>(json: &str) -> Result<T, InspectionError> {
    let mut stream = serde_json::Deserializer::from_str(json).into_iter::<T>();
    match stream.next() {
        Some(Ok(output)) => Ok(output),
        Some(Err(e)) => Err(InspectionError(e.to_string())),
        None => Err(InspectionError("it is empty".to_owned())),
    }
}

impl Inspection {
    /// Reads the log of `k6 inspect`.
    pub fn parse(text: &str) -> Result<Self, InspectionError> {
        let (output, json) = output(text)?;
        let left_out: LeftOut = read(json).unwrap_or_default();
        let tags: Tags = read(json).unwrap_or_default();
        let duration = |text: &str| {
            whole_seconds(text).ok_or_else(|| InspectionError(format!("{text:?} is no duration")))
        };
        let timeout = |text: &Option<String>| match text {
            Some(text) => duration(text),
            None => Ok(SETUP_TIMEOUT),
        };
        let options: Result<Options, _> = read(json);
        let unread = options.as_ref().err().map(ToString::to_string);
        // Texts and numbers always serialize.
        let options = serde_json::to_value(options.unwrap_or_default()).unwrap_or_default();
        let thresholds = threshold::thresholds(&options);
        let wrong = thresholds.as_ref().err().map(ToString::to_string);
        let thresholds = thresholds.unwrap_or_default();
        let judged = thresholds.into_iter().map(|Threshold { selector, .. }| selector);
        let shown = threshold::submetrics(&options);
        let shown = shown.into_iter().map(|Submetric { name: _, selector }| selector);
        let selectors: Vec<Selector> = judged.chain(shown).collect();
        let is_needed = |tag: &str| {
            selectors.iter().any(|Selector { metric, tags }| {
                tags.iter().any(|(name, value)| needs(tag, metric, name, value))
            })
        };
        let metrics = selectors.iter().map(|selector| &selector.metric);
        let script_metrics = metrics
            .filter(|metric| builtin(metric).is_none())
            .cloned()
            .collect();
        let tagging: Tagging = read(json).unwrap_or_default();
        let system_tags = tagging.system_tags.unwrap_or_default();
        let is_only = tagging.scenarios.is_some_and(|scenarios| scenarios.len() == 1);
        let expressions = output.thresholds.iter().flat_map(BTreeMap::values).map(Vec::len);
        Ok(Self {
            max_vus: output.max_vus,
            longest: duration(&output.total_duration)?,
            setup_timeout: timeout(&output.setup_timeout)?,
            teardown_timeout: timeout(&output.teardown_timeout)?,
            total_duration: output.total_duration,
            left_out: left_out.no_setup == Some(true) || left_out.no_teardown == Some(true),
            tags: tags.tags.unwrap_or_default(),
            rps: output.rps.and_then(|rps| rps.as_u64()).filter(|rps| *rps > 0),
            spare_scenario: is_only && !is_needed(SCENARIO),
            spare_group: !is_needed(GROUP),
            system_tags: reduced(&system_tags, is_needed),
            script_metrics,
            thresholds: u32::try_from(expressions.sum::<usize>()).unwrap_or(u32::MAX),
            threshold_error: unread.or(wrong),
            version: None,
            names_no_own_tag: false,
            options: options.to_string(),
        })
    }

    /// Adds what the initializer has found out beside k6's answer.
    pub fn by(mut self, inspected: &Inspected) -> Self {
        if let Some(tags) = &mut self.system_tags
            && inspected.reads_no_tags
        {
            tags.retain(|tag| match tag.as_str() {
                SCENARIO => !self.spare_scenario,
                GROUP => !(self.spare_group && inspected.has_no_groups),
                _ => true,
            });
        }
        Self {
            version: inspected.version(),
            names_no_own_tag: inspected.names_no_own_tag,
            ..self
        }
    }
}
