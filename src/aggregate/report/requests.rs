//! The requests in the report: how many of each, how they ended and how long they took.

use super::{P95, ask, by_tags};
use crate::aggregate::session::Session;
use crate::aggregate::sink::Aggregate;
use crate::aggregate::store::View;
use serde::Serialize;

/// The name of requests without a `name` tag. k6 is told to export no URLs where nothing needs them.
const UNNAMED: &str = "(requests without a name tag)";
/// The most requests that are listed.
const MOST_REQUESTS: usize = 500;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Request {
    name: String,
    method: String,
    /// The status, or else what is known of how it ended.
    result: String,
    /// Whether it ended as the script expects; None if that is not known.
    expected: Option<bool>,
    count: f64,
    avg: f64,
    p95: f64,
    max: f64,
}

/// The requests of a test, those with most first.
pub(super) fn requests(session: &Session, view: &View, seconds: f64) -> Vec<Request> {
    let tags = ["name", "method", "status", "error_code", "expected_response"];
    let requests = by_tags(session, view, "http_req_duration", tags);
    let requests = requests
        .into_iter()
        .map(|([name, method, status, error, expected], sink)| {
            let of = |aggregate| ask(Some(&sink), aggregate, seconds).unwrap_or_default();
            let name = if name.is_empty() { UNNAMED.to_owned() } else { name };
            Request {
                name,
                method,
                result: result(status, &error, &expected),
                expected: expected.parse().ok(),
                count: of(Aggregate::Count),
                avg: of(Aggregate::Avg),
                p95: of(P95),
                max: of(Aggregate::Max),
            }
        });
    let mut requests: Vec<_> = requests.collect();
    requests.sort_by(|a, b| b.count.total_cmp(&a.count));
    requests.truncate(MOST_REQUESTS);
    requests
}

/// How a request ended, by its tags.
/// <https://grafana.com/docs/k6/latest/javascript-api/error-codes/>
fn result(status: String, error_code: &str, expected: &str) -> String {
    if !matches!(status.as_str(), "" | "0") {
        return status;
    }
    let kind = match error_code.parse() {
        Ok(code @ 1400..1600) => return (code - 1000).to_string(),
        Ok(1050) => "timeout",
        Ok(1100..1200) => "DNS",
        Ok(1200..1300) => "TCP",
        Ok(1300..1400) => "TLS",
        Ok(1600..1700) => "HTTP/2",
        Ok(_) => "no answer",
        Err(_) => {
            let words = match expected {
                "true" => "as expected",
                "false" => "not expected",
                _ if status == "0" => "no answer",
                _ => "",
            };
            return words.to_owned();
        }
    };
    format!("{kind} ({error_code})")
}

#[cfg(test)]
mod tests {
    use super::result;

    #[test]
    fn result_of_a_request_is_its_status_or_what_else_is_known() {
        for ((status, error_code, expected), words) in [
            (("200", "", "true"), "200"),
            (("503", "1503", "false"), "503"),
            (("", "1404", "false"), "404"),
            (("", "1599", "false"), "599"),
            (("0", "1212", "false"), "TCP (1212)"),
            (("", "1050", "false"), "timeout (1050)"),
            (("", "1101", "false"), "DNS (1101)"),
            (("", "1310", "false"), "TLS (1310)"),
            (("", "1630", "false"), "HTTP/2 (1630)"),
            (("", "1000", "false"), "no answer (1000)"),
            (("", "", "true"), "as expected"),
            (("", "", "false"), "not expected"),
            (("0", "", ""), "no answer"),
            (("", "", ""), ""),
        ] {
            assert_eq!(result(status.to_owned(), error_code, expected), words);
        }
    }
}
