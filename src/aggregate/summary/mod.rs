//! The summary of a test as a single k6 makes it: the data that `handleSummary()` gets, and a text. Pure.
//! <https://grafana.com/docs/k6/latest/results-output/end-of-test/custom-summary/>

mod checks;
mod machine_readable;
mod text;

pub use checks::{Check, checks};
pub use machine_readable::machine_readable;
pub use text::text;

use super::empty_metrics::Unmeasured;
use super::moment::Moment;
use super::session::Session;
use super::sink::{Aggregate, Sink};
use super::store::Metric;
use crate::k6::threshold::{Selector, Submetric};
use checks::groups;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The statistics of trends that k6 shows by default.
const STATISTICS: [&str; 6] = ["avg", "min", "med", "max", "p(90)", "p(95)"];
/// The submetric that k6 adds by itself.
const EXPECTED: &str = "http_req_duration{expected_response:true}";

/// The options of a script that concern the summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The statistics of trends, such as `p(95)`.
    pub statistics: Vec<String>,
    /// The unit of durations: s, ms or us. If there is none, each duration gets the unit that suits it.
    pub time_unit: Option<String>,
}

impl Options {
    /// Reads the options of a script, as `k6 inspect` prints them.
    pub fn of(options: &Value) -> Self {
        let statistics = options.get("summaryTrendStats").and_then(Value::as_array);
        let statistics: Vec<_> = statistics
            .into_iter()
            .flatten()
            .filter_map(|name| Some(name.as_str()?.to_owned()))
            .collect();
        let unit = options.get("summaryTimeUnit").and_then(Value::as_str);
        Self {
            statistics: if statistics.is_empty() {
                STATISTICS.map(str::to_owned).to_vec()
            } else {
                statistics
            },
            time_unit: unit.filter(|unit| !unit.is_empty()).map(str::to_owned),
        }
    }
}

/// Number.MAX_SAFE_INTEGER plus 1. Below it, every whole number is a float of its own.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// A metric or submetric of the summary.
struct Entry {
    contains: &'static str,
    sink: Sink,
}

/// The metrics and submetrics of the summary. As in k6, they include those that have a threshold and no sample.
fn entries(session: &Session) -> BTreeMap<String, Entry> {
    let view = session.store.view_at_end();
    let mut entries = BTreeMap::new();
    let thresholds = session.judged().iter().map(|judged| &judged.threshold);
    let thresholds = thresholds.map(|threshold| (&threshold.name, &threshold.selector));
    let submetrics = session
        .submetrics
        .iter()
        .map(|Submetric { name, selector }| (name, selector));
    for (name, selector) in thresholds.chain(submetrics) {
        let Unmeasured {
            sink: empty,
            contains,
            is_known: _,
        } = session.unmeasured(&selector.metric, &view);
        let sink = session.store.select(&view, selector);
        let sink = sink.unwrap_or_else(|| empty.clone());
        let parent = entries.entry(selector.metric.clone());
        parent.or_insert(Entry {
            contains,
            sink: empty,
        });
        entries.insert(name_of(name), Entry { contains, sink });
    }
    if let Ok(selector) = Selector::parse(EXPECTED)
        && let Some(sink) = session.store.select(&view, &selector)
    {
        let contains = "time";
        entries.insert(EXPECTED.to_owned(), Entry { contains, sink });
    }
    for (name, metric) in view.metrics {
        let Metric {
            contains,
            sink,
            series: _,
        } = metric;
        entries.insert(name, Entry { contains, sink });
    }
    entries
}

/// The name of a metric as k6 writes it, without blanks around the tags.
fn name_of(name: &str) -> String {
    let tags = name.split_once('{').zip(name.rfind('}'));
    tags.map_or_else(
        || name.to_owned(),
        |((metric, _), close)| {
            let tags = name.get(metric.len() + 1..close).unwrap_or_default();
            format!("{metric}{{{}}}", tags.trim())
        },
    )
}

fn aggregate(name: &str) -> Option<Aggregate> {
    Some(match name {
        "avg" => Aggregate::Avg,
        "min" => Aggregate::Min,
        "med" => Aggregate::Med,
        "max" => Aggregate::Max,
        "count" => Aggregate::Count,
        _ => Aggregate::Percentile(name.strip_prefix("p(")?.strip_suffix(')')?.parse().ok()?),
    })
}

/// A number as JavaScript writes it: a whole number has no fraction.
fn plain(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < WHOLE {
        json!(number as i64)
    } else {
        json!(number)
    }
}

/// The numbers of a metric, under k6's names.
pub fn values(sink: &Sink, statistics: &[String], seconds: f64) -> Map<String, Value> {
    let mut values = Map::new();
    let mut set = |name: &str, value: f64| {
        values.insert(name.to_owned(), plain(value));
    };
    match sink {
        Sink::Counter(count) => {
            set("count", *count);
            set("rate", if seconds > 0.0 { count / seconds } else { 0.0 });
        }
        Sink::Gauge { value, min, max, .. } => {
            set("value", *value);
            set("min", *min);
            set("max", *max);
        }
        Sink::Rate { nonzero, total } => {
            set(
                "rate",
                if *total > 0 {
                    *nonzero as f64 / *total as f64
                } else {
                    0.0
                },
            );
            set("passes", *nonzero as f64);
            set("fails", total.saturating_sub(*nonzero) as f64);
        }
        Sink::Trend(_) => {
            for name in statistics {
                if let Some(found) = aggregate(name).and_then(|aggregate| sink.ask(aggregate, seconds)) {
                    set(name, found.value);
                }
            }
        }
    }
    values
}

/// The data that `handleSummary()` gets.
pub fn data(session: &Session, options: &Options, now: Moment) -> Value {
    let seconds = session.elapsed(now);
    let mut metrics = Map::new();
    for (name, entry) in entries(session) {
        let mut thresholds = Map::new();
        for judged in session
            .judged()
            .iter()
            .filter(|judged| name_of(&judged.threshold.name) == name)
        {
            // A threshold that could not be judged has not been shown to hold.
            let ok = judged.verdict.passed != Some(false) && !judged.unknown;
            thresholds.insert(judged.threshold.source.clone(), json!({"ok": ok}));
        }
        let mut metric = json!({
            "type": entry.sink.metric_type().as_str(),
            "contains": entry.contains,
            "values": values(&entry.sink, &options.statistics, seconds),
        });
        if let (false, Some(metric)) = (thresholds.is_empty(), metric.as_object_mut()) {
            metric.insert("thresholds".to_owned(), Value::Object(thresholds));
        }
        metrics.insert(name, metric);
    }
    json!({
        "root_group": groups(session).json("", ""),
        "options": {
            "summaryTrendStats": options.statistics,
            "summaryTimeUnit": options.time_unit.as_deref().unwrap_or_default(),
            "noColor": false,
        },
        "state": {"isStdOutTTY": false, "isStdErrTTY": false, "testRunDurationMs": seconds * 1e3},
        "metrics": metrics,
    })
}
