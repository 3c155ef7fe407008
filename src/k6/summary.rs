//! k6's summary at the end of a test, and the k6 that only calls handleSummary(). Pure.
//! <https://grafana.com/docs/k6/latest/results-output/end-of-test/custom-summary/>

use super::Version;

/// The first version with a flag against the summary that is not deprecated.
/// <https://github.com/grafana/k6/blob/v1.3.0/internal/lib/summary/summary.go>
const DISABLED: Version = Version::new(1, 3, 0);

/// The argument of `k6 run` that turns the summary off, and handleSummary() with it.
pub fn without_summary(version: Version) -> &'static str {
    if version >= DISABLED {
        "--summary-mode=disabled"
    } else {
        "--no-summary"
    }
}

/// The variable with thresholds, which k6 prefers to those of the script. It is set to names of metrics, each followed by
/// a colon, without expressions. Then k6 judges nothing, but its REST API and its summary have these metrics even without
/// samples. Seen with 0.57, 1.1, 1.8 and 2.2.
/// <https://github.com/grafana/k6/blob/v2.2.0/lib/options.go>
/// <https://github.com/grafana/k6/blob/v2.2.0/internal/metrics/engine/engine.go>
pub const THRESHOLDS: &str = "K6_THRESHOLDS";

/// Flags of `k6 run` that are also for the k6 that calls handleSummary(): those that a script needs to be loaded, those
/// that affect its requests, and those that affect the data. The other flags concern the load and the outputs.
pub const OF_SCRIPT: [&str; 22] = [
    "batch",
    "batch-per-host",
    "blacklist-ip",
    "block-hostnames",
    "compatibility-mode",
    "discard-response-bodies",
    "dns",
    "env",
    "features",
    "include-system-env-vars",
    "insecure-skip-tls-verify",
    "max-redirects",
    "new-machine-readable-summary",
    "no-connection-reuse",
    "no-summary",
    "no-vu-connection-reuse",
    "secret-source",
    "summary-mode",
    "summary-time-unit",
    "summary-trend-stats",
    "throw",
    "user-agent",
];

/// Arguments for the k6 that calls handleSummary(). They take precedence over the runner's variables.
pub const OURS: [&str; 14] = [
    "--quiet",
    "--no-usage-report",
    "--no-thresholds",
    // Its REST API has no users.
    "--address=",
    // Replaces the outputs of the user, which must not get the metrics of this iteration.
    "--out=json=/dev/null",
    "--summary-export=",
    // The log tells why handleSummary() was not called.
    "--log-output=stderr",
    "--log-format=text",
    "--paused=false",
    "--linger=false",
    "--min-iteration-duration=0s",
    "--traces-output=none",
    "--vus=1",
    "--iterations=1",
];

/// The options of a script that affect handleSummary() and not the load: its requests, and how long it may take.
/// <https://grafana.com/docs/k6/latest/using-k6/k6-options/reference/>
pub const OPTIONS: [&str; 18] = [
    "batch",
    "batchPerHost",
    "blacklistIPs",
    "blockHostnames",
    "discardResponseBodies",
    "dns",
    "handleSummaryTimeout",
    "hosts",
    "insecureSkipTLSVerify",
    "maxRedirects",
    "noConnectionReuse",
    "noVUConnectionReuse",
    "summaryTimeUnit",
    "summaryTrendStats",
    "throw",
    "tlsAuth",
    "tlsCipherSuites",
    "tlsVersion",
];
