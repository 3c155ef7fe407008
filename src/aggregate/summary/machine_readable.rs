//! The summary of `--new-machine-readable-summary` (k6 1.5 and newer).

use super::{Entry, Options, aggregate, checks, entries, plain};
use crate::aggregate::moment::Moment;
use crate::aggregate::session::Session;
use crate::aggregate::sink::Sink;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The metrics of the phases of a request. A machine-readable summary has them in the mode `full` only: k6 leaves out
/// each metric whose name begins with one of these.
/// <https://github.com/grafana/k6/blob/v1.5.0/internal/output/summary/data.go>
const PHASES: [&str; 6] = [
    "http_req_blocked",
    "http_req_connecting",
    "http_req_receiving",
    "http_req_sending",
    "http_req_tls_handshaking",
    "http_req_waiting",
];
/// Metrics that a machine-readable summary does not have under their own name. Source: as above.
const LEFT_OUT: [&str; 2] = ["checks", "group_duration"];

/// The data that `handleSummary()` gets from a k6 with `--new-machine-readable-summary` (1.5 and newer), without what
/// only that k6 knows: the version of the schema, `metadata`, and the source of the script. `phases` has the metrics
/// that the summary has in the mode `full` only.
pub fn machine_readable(session: &Session, options: &Options, now: Moment) -> Value {
    let entries = entries(session);
    let is_of = |names: &[&str], name: &str| names.iter().any(|prefix| name.starts_with(prefix));
    let kept = entries.iter().filter(|(name, _)| !is_of(&LEFT_OUT, name));
    let (phases, metrics): (Vec<_>, Vec<_>) = kept.partition(|(name, _)| is_of(&PHASES, name));
    let listed = |entries: Vec<(&String, &Entry)>| -> Vec<Value> {
        let metric = |(name, entry): (&String, &Entry)| {
            json!({
                "name": name, "type": entry.sink.metric_type().as_str(), "contains": entry.contains,
                "values": machine_readable_values(&entry.sink, options),
            })
        };
        entries.into_iter().map(metric).collect()
    };
    let mut totals = Vec::new();
    if let Some(Entry {
        sink: Sink::Rate { nonzero, total },
        contains,
    }) = entries.get("checks")
    {
        let rate = |name: &str, matches: u64| {
            let values = machine_readable_values(
                &Sink::Rate {
                    nonzero: matches,
                    total: *total,
                },
                options,
            );
            json!({"name": name, "type": "rate", "contains": contains, "values": values})
        };
        totals.extend([
            json!({"name": "checks_total", "type": "counter", "contains": contains, "values": {"count": total}}),
            rate("checks_failed", total.saturating_sub(*nonzero)),
            rate("checks_succeeded", *nonzero),
        ]);
    }
    // k6 adds up the checks of one name over all groups.
    let mut by_name: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for check in checks(session) {
        let (passes, fails) = by_name.entry(check.name).or_default();
        *passes += check.passes;
        *fails += check.fails;
    }
    let results = by_name
        .into_iter()
        .map(|(name, (passes, fails))| json!({"name": name, "passes": passes, "fails": fails}));
    json!({
        "summary": {
            "config": {"duration": session.elapsed(now), "execution": "local"},
            "results": {
                "checks": {"metrics": totals, "results": results.collect::<Vec<_>>()},
                "metrics": listed(metrics),
            },
        },
        "phases": listed(phases),
    })
}

/// The numbers of a metric. A counter has no rate, and a trend has those of these six that `summaryTrendStats` names,
/// and null for the others.
fn machine_readable_values(sink: &Sink, options: &Options) -> Value {
    let share = |part: u64, all: u64| if all > 0 { part as f64 / all as f64 } else { 0.0 };
    match sink {
        Sink::Counter(count) => json!({"count": plain(*count)}),
        Sink::Gauge { value, min, max, .. } => {
            json!({"value": plain(*value), "min": plain(*min), "max": plain(*max)})
        }
        Sink::Rate { nonzero, total } => {
            json!({"matches": nonzero, "total": total, "rate": plain(share(*nonzero, *total))})
        }
        Sink::Trend(_) => {
            let value = |name: &str| {
                let asked = options.statistics.iter().any(|statistic| statistic == name);
                let found = asked.then(|| aggregate(name)).flatten();
                found
                    .and_then(|aggregate| sink.ask(aggregate, 0.0))
                    .map(|found| plain(found.value))
            };
            json!({
                "avg": value("avg"), "min": value("min"), "med": value("med"), "max": value("max"),
                "p90": value("p(90)"), "p95": value("p(95)"),
            })
        }
    }
}
