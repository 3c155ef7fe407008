//! What the k6 of a runner is given so that it exports to the aggregator. Pure.

/// The header that has the number of the runner that exports.
pub const RUNNER_HEADER: &str = "k6-runner";
/// The header that tells its processes apart.
pub const PROCESS_HEADER: &str = "k6-process";
/// The header that names the run: an address can have been another's.
pub const RUN_HEADER: &str = "k6-run";

/// The environment of a k6 of this major version:
/// <https://grafana.com/docs/k6/latest/results-output/real-time/opentelemetry/>, and for the histograms
/// <https://opentelemetry.io/docs/specs/otel/metrics/sdk_exporters/otlp/>.
pub fn environment(
    aggregator: &str,
    run: &str,
    runner: u32,
    process: &str,
    major: u32,
) -> Vec<(&'static str, String)> {
    // From 2 on k6 does not start where this is set at all; before, 1.1 knows only this name of the next one.
    let former = (major < 2).then(|| ("K6_OTEL_EXPORTER_TYPE", "http".to_owned()));
    let always = [
        ("K6_OTEL_EXPORTER_PROTOCOL", "http/protobuf".to_owned()),
        ("K6_OTEL_HTTP_EXPORTER_INSECURE", "true".to_owned()),
        ("K6_OTEL_HTTP_EXPORTER_ENDPOINT", aggregator.to_owned()),
        ("K6_OTEL_HTTP_EXPORTER_URL_PATH", "/v1/metrics".to_owned()),
        ("K6_OTEL_EXPORT_INTERVAL", "1s".to_owned()),
        // An export has what was measured until the flush before it.
        ("K6_OTEL_FLUSH_INTERVAL", "200ms".to_owned()),
        ("K6_OTEL_METRIC_PREFIX", String::new()),
        (
            "K6_OTEL_HEADERS",
            format!("{RUN_HEADER}={run},{RUNNER_HEADER}={runner},{PROCESS_HEADER}={process}"),
        ),
        (
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "cumulative".to_owned(),
        ),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "base2_exponential_bucket_histogram".to_owned(),
        ),
        // No limit. From 1.44 on the SDK for Go has one of 2,000 series for each metric, and what is beyond it has no
        // tags.
        ("OTEL_GO_X_CARDINALITY_LIMIT", "0".to_owned()),
    ];
    former.into_iter().chain(always).collect()
}

/// k6's own variable that names outputs.
pub const OUTPUTS: &str = "K6_OUT";

/// What an output is of which k6 can have only one, which is the operator's.
pub fn is_opentelemetry(output: &str) -> bool {
    let name = output.split('=').next().unwrap_or_default();
    name == "opentelemetry" || name == "experimental-opentelemetry"
}

/// More arguments of a k6 that is given outputs, for those that [`OUTPUTS`] names: beside `--out` it does not heed
/// them. <https://grafana.com/docs/k6/latest/using-k6/k6-options/reference/#results-output>
pub fn outputs_beside(variable: &str) -> Vec<String> {
    let beside = variable
        .split(',')
        .filter(|output| !output.is_empty() && !is_opentelemetry(output));
    beside
        .flat_map(|output| ["--out".to_owned(), output.to_owned()])
        .collect()
}

/// The arguments of `k6 run`, of a k6 in which the output is called so; with `once` setup() and teardown() are run
/// through its REST API.
pub fn arguments(output: &str, once: bool) -> Vec<String> {
    let mut words = vec!["--linger", "--no-thresholds", "--out", output];
    if once {
        words.extend(["--no-setup", "--no-teardown"]);
    }
    words.into_iter().map(str::to_owned).collect()
}

const NO_SUMMARY: &str = "--no-summary";
const SUMMARY_MODE: &str = "--summary-mode";

/// What makes a k6 of this major version sum up, whatever it was told before, and whatever variables say.
pub fn summing(major: u32) -> Vec<String> {
    let former = (major < 2).then(|| format!("{NO_SUMMARY}=false"));
    let since = (major >= 1).then(|| format!("{SUMMARY_MODE}=compact"));
    former.into_iter().chain(since).collect()
}

/// More arguments of a k6 of this major version that has these arguments and variables, so that it measures itself:
/// without thresholds and without a summary it does not, and nobody could say whether all of it has come.
pub fn measuring(major: u32, arguments: &[String], variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let after = |flag: &str, word: &str| word.strip_prefix(flag)?.strip_prefix('=').map(str::to_owned);
    let mut summary = variable("K6_NO_SUMMARY");
    let mut mode = variable("K6_SUMMARY_MODE");
    for (i, word) in arguments.iter().enumerate() {
        if word == NO_SUMMARY {
            summary = Some("true".to_owned());
        } else if word == SUMMARY_MODE {
            mode = arguments.get(i + 1).cloned();
        }
        summary = after(NO_SUMMARY, word).or(summary);
        mode = after(SUMMARY_MODE, word).or(mode);
    }
    let untold = summary.is_some_and(|no| matches!(no.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"));
    let disabled = mode.as_deref() == Some("disabled");
    let said = |word: &String| {
        (untold && word.starts_with(NO_SUMMARY)) || (disabled && word.starts_with(SUMMARY_MODE))
    };
    summing(major).into_iter().filter(said).collect()
}
