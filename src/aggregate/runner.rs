//! What the k6 of a runner is given so that it exports to the aggregator. Pure.

use crate::k6::arguments::boolean;
use crate::k6::flags::{has_no_summary, has_summary_mode};
use crate::k6::system_tags::{SYSTEM_TAGS, SYSTEM_TAGS_VARIABLE};
use crate::k6::{Arguments, Flags, Version};
use std::collections::BTreeMap;

/// The header that has the number of the runner that exports.
pub const RUNNER_HEADER: &str = "k6-runner";
/// The header that tells its processes apart.
pub const PROCESS_HEADER: &str = "k6-process";

/// The first version with `K6_OTEL_EXPORTER_PROTOCOL`, which is taken before `K6_OTEL_EXPORTER_TYPE`. That is
/// deprecated then, and gone in 2.0.
/// <https://github.com/grafana/k6/blob/v1.4.0/internal/output/opentelemetry/config.go>
const PROTOCOL: Version = Version::new(1, 4, 0);

/// The environment of a k6 of this version:
/// <https://grafana.com/docs/k6/latest/results-output/real-time/opentelemetry/>, and for the histograms
/// <https://opentelemetry.io/docs/specs/otel/metrics/sdk_exporters/otlp/>.
///
/// It also has each setting of the SDK that a user may have in the environment for programs of their own, and by which
/// an export would fail, come late or be of no use: <https://opentelemetry.io/docs/languages/sdk-configuration/>.
/// [`corrections`] has those that can only be removed. [`ENDPOINT`] is added when k6 is started.
pub fn environment(version: Version) -> Vec<(&'static str, String)> {
    let protocol = if version >= PROTOCOL {
        ("K6_OTEL_EXPORTER_PROTOCOL", "http/protobuf".to_owned())
    } else {
        (EXPORTER_TYPE, HTTP.to_owned())
    };
    vec![
        protocol,
        ("K6_OTEL_HTTP_EXPORTER_INSECURE", "true".to_owned()),
        ("K6_OTEL_HTTP_EXPORTER_URL_PATH", "/v1/metrics".to_owned()),
        ("K6_OTEL_EXPORT_INTERVAL", "1s".to_owned()),
        // An export has what was measured until the flush before it.
        ("K6_OTEL_FLUSH_INTERVAL", "200ms".to_owned()),
        ("K6_OTEL_METRIC_PREFIX", String::new()),
        // k6 does not start where OTEL_SERVICE_NAME is set and empty; this one comes before it.
        ("K6_OTEL_SERVICE_NAME", "k6".to_owned()),
        // The defaults, in ms.
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "10000".to_owned()),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "30000".to_owned()),
        // The aggregator is near, and a runner's CPU is for the test.
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none".to_owned()),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "always_off".to_owned()),
        (
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "cumulative".to_owned(),
        ),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "base2_exponential_bucket_histogram".to_owned(),
        ),
        // What is beyond has no tags. `linger` sets it higher where requests have no tags by URL.
        (SERIES_LIMIT, SERIES_BY_URL.to_string()),
    ]
}

/// The variable by which k6's SDK keeps so many series of a metric apart. Without it, from 1.44 on, it is 2,000.
/// <https://github.com/open-telemetry/opentelemetry-go/blob/v1.44.0/CHANGELOG.md>
pub const SERIES_LIMIT: &str = "OTEL_GO_X_CARDINALITY_LIMIT";
/// How many where each URL may have its own: a request has nine metrics. With 15,000 URLs a k6 1.1.0 needs 3 GiB and
/// four times its CPU for all of them, and exports 90 MB each second.
pub const SERIES_BY_URL: u32 = 2_000;
/// How many elsewhere, where only a script's own tags, groups and checks tell series apart.
pub const SERIES: u32 = 5_000;

/// The variable with the address to which k6 exports.
pub const ENDPOINT: &str = "K6_OTEL_HTTP_EXPORTER_ENDPOINT";

const EXPORTER_TYPE: &str = "K6_OTEL_EXPORTER_TYPE";
const HTTP: &str = "http";

/// The settings of k6's OpenTelemetry output.
const OUTPUT_SETTINGS: &str = "K6_OTEL_";
/// The settings of the SDK that are for metrics alone, and those for all signals and for traces.
const METRICS_SETTINGS: &str = "OTEL_EXPORTER_OTLP_METRICS_";
const SDK_SETTINGS: &str = "OTEL_EXPORTER_OTLP_";
const TRACES_SETTINGS: &str = "OTEL_EXPORTER_OTLP_TRACES_";
/// Certificates and keys. With one of them the exporter refuses an endpoint without TLS, such as the aggregator's, and
/// k6 1.8 and 2.2 end with 255 before the test.
/// <https://opentelemetry.io/docs/specs/otel/protocol/exporter/#configuration-options>
const TLS: [&str; 3] = ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"];

/// What has to be done to the environment that a runner's pod has, before k6 gets it: variables with their new value,
/// or None for those that are removed. The settings of the output are the operator's, and so are those of the SDK for
/// metrics. Certificates for all signals become those for traces, which k6 can export beside (`--traces-output`).
pub fn corrections(variables: &BTreeMap<String, String>) -> Vec<(String, Option<String>)> {
    let ours = environment(PROTOCOL);
    let is_ours = |name: &str, value: &str| {
        let former = name == EXPORTER_TYPE && value == HTTP;
        former || ours.iter().any(|(own, _)| *own == name)
    };
    let of_output = variables.iter().filter(|(name, value)| {
        let settings = name.starts_with(OUTPUT_SETTINGS) || name.starts_with(METRICS_SETTINGS);
        settings && !is_ours(name, value)
    });
    let removed = of_output.map(|(name, _)| (name.clone(), None));
    let tls = TLS.into_iter().flat_map(|setting| {
        let general = format!("{SDK_SETTINGS}{setting}");
        let of_traces = format!("{TRACES_SETTINGS}{setting}");
        let value = variables.get(&general);
        let moved = value.filter(|_| !variables.contains_key(&of_traces));
        let moved = moved.map(|value| (of_traces, Some(value.clone())));
        value.map(|_| (general, None)).into_iter().chain(moved)
    });
    removed.chain(tls).collect()
}

/// k6's own variable that names outputs.
pub const OUTPUTS: &str = "K6_OUT";

/// What an output is of which k6 can have only one, which is the operator's.
pub fn is_opentelemetry(output: &str) -> bool {
    let name = output.split('=').next().unwrap_or_default();
    name == "opentelemetry" || name == "experimental-opentelemetry"
}

/// Those of the outputs in [`OUTPUTS`] that k6 is not given, as it can have only one of them.
pub fn outputs_left_out(variable: &str) -> impl Iterator<Item = &str> {
    variable.split(',').filter(|output| is_opentelemetry(output))
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

/// The argument of a k6 with these arguments and variables by which it has these system tags; none if its user says
/// which it has, or sends samples elsewhere too, where their tags may be wanted.
pub fn tagging(
    tags: &str,
    arguments: &[String],
    variable: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let arguments = Arguments::parse(arguments, &Flags::of_run());
    let is_said = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let outputs = variable(OUTPUTS).unwrap_or_default();
    let mut outputs = arguments.values("out").chain(outputs.split(','));
    let is_elsewhere = outputs.any(|output| !output.is_empty() && !is_opentelemetry(output));
    let is_free = !arguments.has(SYSTEM_TAGS) && !is_said(SYSTEM_TAGS_VARIABLE) && !is_elsewhere;
    is_free.then(|| format!("--{SYSTEM_TAGS}={tags}"))
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

const NO_SUMMARY: &str = "no-summary";
const SUMMARY_MODE: &str = "summary-mode";

/// What makes a k6 of this version sum up, whatever it was told before, and whatever variables say.
pub fn summing(version: Version) -> Vec<String> {
    let former = has_no_summary(version).then(|| format!("--{NO_SUMMARY}=false"));
    let since = has_summary_mode(version).then(|| format!("--{SUMMARY_MODE}=compact"));
    former.into_iter().chain(since).collect()
}

/// More arguments of a k6 of this version that has these arguments and variables, so that it measures itself:
/// without thresholds and without a summary it does not, and nobody could say whether all of it has come.
pub fn measuring(
    version: Version,
    arguments: &[String],
    variable: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let arguments = Arguments::parse(arguments, &Flags::of_run());
    let is_set = || variable("K6_NO_SUMMARY").is_some_and(|value| boolean(&value) == Some(true));
    let has_none = has_no_summary(version) && arguments.is_on(NO_SUMMARY).unwrap_or_else(is_set);
    let mode = arguments.value(SUMMARY_MODE).map(str::to_owned);
    let is_disabled = has_summary_mode(version)
        && mode.or_else(|| variable("K6_SUMMARY_MODE")).as_deref() == Some("disabled");
    let [no_summary, summary_mode] = [NO_SUMMARY, SUMMARY_MODE].map(|flag| format!("--{flag}="));
    let is_needed = |word: &String| {
        (has_none && word.starts_with(&no_summary)) || (is_disabled && word.starts_with(&summary_mode))
    };
    summing(version).into_iter().filter(is_needed).collect()
}
