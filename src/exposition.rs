//! The two text formats in which Prometheus reads metrics, and the choice between them. Pure.
//!
//! Our metrics are written as OpenMetrics. A client that does not ask for OpenMetrics gets the older format, as it does
//! from Prometheus' own client libraries: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns the content type and the text of these metrics, for a client with this `Accept` header.
pub fn answer(openmetrics: String, accept: Option<&str>) -> (&'static str, String) {
    match accept.is_some_and(takes_openmetrics) {
        true => (OPENMETRICS, openmetrics),
        false => (CLASSIC, classic(&openmetrics)),
    }
}

fn takes_openmetrics(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let refused = |part: &str| {
            let weight = part
                .strip_prefix("q=")
                .and_then(|weight| weight.parse::<f64>().ok());
            weight == Some(0.0)
        };
        media.eq_ignore_ascii_case("application/openmetrics-text") && !parts.any(refused)
    })
}

/// Writes the text in the format 0.0.4, in which a counter has the name of its series, with `_total`, and which has
/// neither units nor a mark of the end.
fn classic(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ').map(|(_, words)| words);
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|typed| typed.split_once(' '))
        {
            let total = if kind == "counter" { "_total" } else { "" };
            let kind = if kind == "unknown" { "untyped" } else { kind };
            if let Some(words) = help.take() {
                text.push_str(&format!("# HELP {name}{total} {words}\n"));
            }
            text.push_str(&format!("# TYPE {name}{total} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::answer;

    const METRICS: &str = "# HELP runs Runs.\n# TYPE runs counter\n# UNIT runs seconds\nruns_total{a=\"b # c\"} 1\n\
                           # HELP depth Depth.\n# TYPE depth gauge\ndepth 2\n# TYPE odd unknown\nodd 3\n# EOF\n";

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        let kind = |accept: Option<&str>| {
            answer(METRICS.to_owned(), accept)
                .0
                .split(';')
                .next()
                .unwrap_or_default()
        };
        for accept in [
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "application/vnd.google.protobuf;q=0.7,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1",
        ] {
            assert_eq!(kind(Some(accept)), "application/openmetrics-text", "{accept}");
        }
        for accept in [
            "text/plain",
            "*/*",
            "",
            "text/plain;version=0.0.4, application/openmetrics-text;q=0",
        ] {
            assert_eq!(kind(Some(accept)), "text/plain", "{accept}");
        }
        assert_eq!(kind(None), "text/plain");
    }

    #[test]
    fn counter_has_help_and_type_under_the_name_of_its_series() {
        assert_eq!(
            answer(METRICS.to_owned(), None).1,
            "# HELP runs_total Runs.\n# TYPE runs_total counter\nruns_total{a=\"b # c\"} 1\n# HELP depth Depth.\n\
             # TYPE depth gauge\ndepth 2\n# TYPE odd untyped\nodd 3\n"
        );
    }
}
