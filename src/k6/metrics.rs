//! The types of metrics, by k6's words for them, and the metrics that k6 itself makes.
//! <https://grafana.com/docs/k6/latest/using-k6/metrics/reference/>

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// The type of a metric, as k6's REST API writes it.
/// <https://github.com/grafana/k6/blob/v2.2.0/metrics/metric_type.go>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricType {
    /// The sum of all values.
    Counter,
    /// The last value.
    Gauge,
    /// The share of values other than zero.
    Rate,
    /// Statistics over all values.
    Trend,
}

impl MetricType {
    /// k6's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Rate => "rate",
            Self::Trend => "trend",
        }
    }
}

/// What the values of a metric measure, as k6's REST API writes it.
/// <https://github.com/grafana/k6/blob/v2.2.0/metrics/value_type.go>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Contains {
    /// Numbers without a unit.
    Default,
    /// Times, in ms.
    Time,
    /// Amounts of data, in bytes.
    Data,
}

impl Contains {
    /// k6's word for it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What k6 says of a metric, even if it has no samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricKind {
    /// Counter, gauge, rate or trend.
    #[serde(rename = "type")]
    pub type_: MetricType,
    /// What its values measure.
    pub contains: Contains,
}

/// Returns the type of one of k6's own metrics; None for other names, which only a script can have.
pub fn builtin(metric: &str) -> Option<MetricKind> {
    let (type_, contains) = match metric {
        "vus" | "vus_max" => (MetricType::Gauge, Contains::Default),
        "http_reqs"
        | "iterations"
        | "dropped_iterations"
        | "ws_sessions"
        | "ws_msgs_sent"
        | "ws_msgs_received"
        | "grpc_streams"
        | "grpc_streams_msgs_sent"
        | "grpc_streams_msgs_received" => (MetricType::Counter, Contains::Default),
        "data_sent" | "data_received" | "browser_data_sent" | "browser_data_received" => {
            (MetricType::Counter, Contains::Data)
        }
        "checks" | "http_req_failed" | "browser_http_req_failed" => (MetricType::Rate, Contains::Default),
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
        | "browser_web_vital_ttfb" => (MetricType::Trend, Contains::Time),
        "browser_web_vital_cls" => (MetricType::Trend, Contains::Default),
        _ => return None,
    };
    Some(MetricKind { type_, contains })
}
