//! What a metric is of which there is no sample. k6 shows it in its summary if it has a threshold. Pure.

use super::sink::{Aggregate, Sink};
use super::store::View;
use crate::k6::threshold::Threshold;

/// What a metric without samples, or without those of a selector, has come to, and k6's word for what it measures. Its
/// type is that of its other samples, else what k6 says of its own metrics, and of others what thresholds ask of it.
pub fn unmeasured<'a>(
    metric: &str,
    view: &View,
    thresholds: impl Iterator<Item = &'a Threshold>,
) -> (Sink, &'static str) {
    if let Some(known) = view.metrics.get(metric) {
        return (emptied(&known.sink), known.contains);
    }
    builtin(metric).unwrap_or_else(|| {
        let asked = thresholds.filter(|threshold| threshold.selector.metric == metric);
        (asked_for(asked), "default")
    })
}

/// Whether k6 itself makes a metric, and not the script.
pub(super) fn is_builtin(metric: &str) -> bool {
    builtin(metric).is_some()
}

/// <https://grafana.com/docs/k6/latest/using-k6/metrics/reference/>
fn builtin(metric: &str) -> Option<(Sink, &'static str)> {
    Some(match metric {
        "vus" | "vus_max" => (GAUGE, "default"),
        "http_reqs"
        | "iterations"
        | "dropped_iterations"
        | "ws_sessions"
        | "ws_msgs_sent"
        | "ws_msgs_received"
        | "grpc_streams"
        | "grpc_streams_msgs_sent"
        | "grpc_streams_msgs_received" => (COUNTER, "default"),
        "data_sent" | "data_received" | "browser_data_sent" | "browser_data_received" => (COUNTER, "data"),
        "checks" | "http_req_failed" | "browser_http_req_failed" => (RATE, "default"),
        "iteration_duration"
        | "group_duration"
        | "http_req_duration"
        | "http_req_blocked"
        | "http_req_connecting"
        | "http_req_tls_handshaking"
        | "http_req_sending"
        | "http_req_waiting"
        | "http_req_receiving"
        | "ws_ping"
        | "ws_session_duration"
        | "ws_connecting"
        | "grpc_req_duration"
        | "browser_http_req_duration"
        | "browser_web_vital_fcp"
        | "browser_web_vital_fid"
        | "browser_web_vital_inp"
        | "browser_web_vital_lcp"
        | "browser_web_vital_ttfb" => (trend(), "time"),
        "browser_web_vital_cls" => (trend(), "default"),
        _ => return None,
    })
}

/// A counter has a rate too, and a rate has no count.
fn asked_for<'a>(thresholds: impl Iterator<Item = &'a Threshold>) -> Sink {
    let asked: Vec<_> = thresholds
        .map(|threshold| threshold.expression.aggregate)
        .collect();
    if asked.contains(&Aggregate::Count) {
        COUNTER
    } else if asked.contains(&Aggregate::Rate) {
        RATE
    } else if asked.contains(&Aggregate::Value) {
        GAUGE
    } else {
        trend()
    }
}

const COUNTER: Sink = Sink::Counter(0.0);
const RATE: Sink = Sink::Rate { nonzero: 0, total: 0 };
const GAUGE: Sink = Sink::Gauge {
    value: 0.0,
    min: 0.0,
    max: 0.0,
    since: 0,
    summed: false,
};

fn trend() -> Sink {
    Sink::Trend(Box::default())
}

fn emptied(sink: &Sink) -> Sink {
    match sink {
        Sink::Counter(_) => COUNTER,
        Sink::Gauge { .. } => GAUGE,
        Sink::Rate { .. } => RATE,
        Sink::Trend(_) => trend(),
    }
}
