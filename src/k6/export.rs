//! Environment and arguments that make k6 export its metrics by OTLP, and k6's outputs.

use super::arguments::boolean;
use super::flags::{has_no_summary, has_summary_mode, variable_of};
use super::system_tags::{SYSTEM_TAGS, SYSTEM_TAGS_VARIABLE};
use super::{Arguments, Flags, Version};
use std::collections::BTreeMap;

/// The first version with `K6_OTEL_EXPORTER_PROTOCOL`, which takes precedence over `K6_OTEL_EXPORTER_TYPE`. The latter is
/// deprecated from then on, and removed in 2.0.
/// <https://github.com/grafana/k6/blob/v1.4.0/internal/output/opentelemetry/config.go>
const PROTOCOL: Version = Version::new(1, 4, 0);

/// The environment of a k6 of this version:
/// <https://grafana.com/docs/k6/latest/results-output/real-time/opentelemetry/>, and for the histograms
/// <https://opentelemetry.io/docs/specs/otel/metrics/sdk_exporters/otlp/>.
///
/// It also overrides the settings of the SDK that a user may have set for other programs, and that would make an export
/// fail, arrive late or be useless: <https://opentelemetry.io/docs/languages/sdk-configuration/>.
/// [`corrections`] removes others. [`ENDPOINT`] is added when k6 is started.
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
        // An export contains what was measured before the last flush.
        ("K6_OTEL_FLUSH_INTERVAL", "200ms".to_owned()),
        ("K6_OTEL_METRIC_PREFIX", String::new()),
        // k6 does not start with an empty OTEL_SERVICE_NAME; this variable takes precedence.
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
        // Series beyond this limit lose their tags. `linger` raises it where requests have no tags by URL.
        (SERIES_LIMIT, SERIES_BY_URL.to_string()),
    ]
}

/// The variable with the maximum number of series of a metric. The SDK's own default, since 1.44, is 2,000.
/// <https://github.com/open-telemetry/opentelemetry-go/blob/v1.44.0/CHANGELOG.md>
pub const SERIES_LIMIT: &str = "OTEL_GO_X_CARDINALITY_LIMIT";
/// The limit where each URL may have a series of its own: a request has nine metrics. With 15,000 URLs, k6 1.1.0 would
/// need 3 GiB and four times its CPU, and export 90 MB each second.
pub const SERIES_BY_URL: u32 = 2_000;
/// The limit where only a script's own tags, groups and checks distinguish series.
pub const SERIES: u32 = 5_000;

/// The variable with the address of the OTLP receiver.
pub const ENDPOINT: &str = "K6_OTEL_HTTP_EXPORTER_ENDPOINT";

const EXPORTER_TYPE: &str = "K6_OTEL_EXPORTER_TYPE";
const HTTP: &str = "http";

/// The settings of k6's OpenTelemetry output.
const OUTPUT_SETTINGS: &str = "K6_OTEL_";
/// The settings of the SDK for metrics, for all signals, and for traces.
const METRICS_SETTINGS: &str = "OTEL_EXPORTER_OTLP_METRICS_";
const SDK_SETTINGS: &str = "OTEL_EXPORTER_OTLP_";
const TRACES_SETTINGS: &str = "OTEL_EXPORTER_OTLP_TRACES_";
/// Certificates and keys. If one is set, the exporter refuses an endpoint without TLS, such as the aggregator, and k6 1.8
/// and 2.2 exit with 255 before the test.
/// <https://opentelemetry.io/docs/specs/otel/protocol/exporter/#configuration-options>
const TLS: [&str; 3] = ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"];

/// Changes to the environment of a runner's pod before k6 gets it: variables with their new value, or None to remove
/// them. Only the operator sets the output and the SDK's metrics. Certificates for all signals become certificates for
/// traces, which k6 can also export (`--traces-output`).
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

/// k6's variable for outputs, separated by commas.
/// <https://grafana.com/docs/k6/latest/using-k6/k6-options/reference/#results-output>
pub const OUTPUTS_VARIABLE: &str = "K6_OUT";

/// The names of k6's OpenTelemetry output, each with the first version that has it. 2.2 still accepts the old name.
/// <https://github.com/grafana/k6/blob/v1.4.0/internal/cmd/outputs.go>
const OPENTELEMETRY: [(Version, &str); 2] = [
    (Version::new(1, 4, 0), "opentelemetry"),
    (Version::new(0, 53, 0), "experimental-opentelemetry"),
];

/// The name of the OpenTelemetry output in this version; None if it has none.
pub fn opentelemetry_output(version: Version) -> Option<&'static str> {
    let mut names = OPENTELEMETRY.into_iter();
    names.find_map(|(first, name)| (version >= first).then_some(name))
}

/// The name of an output: `json` in `json=results.json`.
fn output_name(output: &str) -> &str {
    output.split_once('=').map_or(output, |(name, _)| name)
}

/// True for the OpenTelemetry output, which k6 allows once and the operator uses.
pub fn is_opentelemetry(output: &str) -> bool {
    OPENTELEMETRY.iter().any(|(_, name)| *name == output_name(output))
}

/// True for the output to Grafana Cloud k6.
pub fn is_cloud(output: &str) -> bool {
    output_name(output) == "cloud"
}

/// The outputs in [`OUTPUTS_VARIABLE`] that are not passed to k6, because it allows them once.
pub fn outputs_left_out(variable: &str) -> impl Iterator<Item = &str> {
    variable.split(',').filter(|output| is_opentelemetry(output))
}

/// Arguments for the outputs in [`OUTPUTS_VARIABLE`]: k6 ignores the variable when it has `--out`.
/// <https://grafana.com/docs/k6/latest/using-k6/k6-options/reference/#results-output>
pub fn outputs_beside(variable: &str) -> Vec<String> {
    let beside = variable
        .split(',')
        .filter(|output| !output.is_empty() && !is_opentelemetry(output));
    beside
        .flat_map(|output| ["--out".to_owned(), output.to_owned()])
        .collect()
}

/// Whether the samples of this `k6 run` also go to other outputs than ours.
pub fn has_other_outputs(arguments: &[String], variable: impl Fn(&str) -> Option<String>) -> bool {
    let arguments = Arguments::parse(arguments, &Flags::of_run());
    let outputs = variable(OUTPUTS_VARIABLE).unwrap_or_default();
    let mut outputs = arguments.values("out").chain(outputs.split(','));
    outputs.any(|output| !output.is_empty() && !is_opentelemetry(output))
}

/// The argument that gives k6 these system tags; None if the user sets system tags, or has other outputs, which may need
/// all tags.
pub fn tagging(
    tags: &str,
    arguments: &[String],
    variable: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let is_said = variable(SYSTEM_TAGS_VARIABLE).is_some_and(|value| !value.is_empty());
    let is_given = Arguments::parse(arguments, &Flags::of_run()).has(SYSTEM_TAGS);
    let is_free = !is_said && !is_given && !has_other_outputs(arguments, variable);
    is_free.then(|| format!("--{SYSTEM_TAGS}={tags}"))
}

/// The arguments of `k6 run` that make it export by this name of the output; with `once`, setup() and teardown() run only
/// through the REST API.
pub fn arguments(output: &str, once: bool) -> Vec<String> {
    let mut words = vec!["--linger", "--no-thresholds", "--out", output];
    if once {
        words.extend(["--no-setup", "--no-teardown"]);
    }
    words.into_iter().map(str::to_owned).collect()
}

const NO_SUMMARY: &str = "no-summary";
const SUMMARY_MODE: &str = "summary-mode";

/// Arguments that make k6 create a summary, whatever other arguments and variables say.
pub fn summing(version: Version) -> Vec<String> {
    let former = has_no_summary(version).then(|| format!("--{NO_SUMMARY}=false"));
    let since = has_summary_mode(version).then(|| format!("--{SUMMARY_MODE}=compact"));
    former.into_iter().chain(since).collect()
}

/// More arguments so that k6 aggregates its own metrics: without thresholds and without a summary it does not, and then
/// nothing shows whether all of its exports have arrived.
pub fn measuring(
    version: Version,
    arguments: &[String],
    variable: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let arguments = Arguments::parse(arguments, &Flags::of_run());
    let is_set = || variable(&variable_of(NO_SUMMARY)).is_some_and(|value| boolean(&value) == Some(true));
    let has_none = has_no_summary(version) && arguments.is_on(NO_SUMMARY).unwrap_or_else(is_set);
    let mode = arguments.value(SUMMARY_MODE).map(str::to_owned);
    let is_disabled = has_summary_mode(version)
        && mode.or_else(|| variable(&variable_of(SUMMARY_MODE))).as_deref() == Some("disabled");
    let [no_summary, summary_mode] = [NO_SUMMARY, SUMMARY_MODE].map(|flag| format!("--{flag}="));
    let is_needed = |word: &String| {
        (has_none && word.starts_with(&no_summary)) || (is_disabled && word.starts_with(&summary_mode))
    };
    summing(version).into_iter().filter(is_needed).collect()
}
