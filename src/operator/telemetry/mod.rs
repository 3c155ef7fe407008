//! What the operator says about itself: logs, traces, metrics and health.
//!
//! [`init`] installs the process-wide subscriber (logs on stderr and, when the environment names an OTLP
//! endpoint, spans sent there). [`Metrics`] collects the numbers and [`Endpoints`] serves them together with
//! the health checks.

mod http;
mod logs;
mod metrics;
mod traces;

use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Subscriber, debug, warn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use http::{Endpoints, Health, Heartbeat, Readiness, ServeError, serve};
pub use logs::{DEFAULT_LOG_FILTER, LogFormat};
pub use metrics::{Metrics, Outcome, ReconcileTimer};
pub use traces::TraceSettings;

/// How long the end of the process waits for the last spans.
pub const FLUSH_BUDGET: Duration = Duration::from_secs(3);

/// The options of the command line for telemetry.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TelemetryArgs {
    /// How log lines are written.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// The settings of [`init`].
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Filter directives for the log; `None` is [`DEFAULT_LOG_FILTER`].
    pub log_filter: Option<String>,
    /// Where spans are sent; `None` sends none and costs nothing.
    pub traces: Option<TraceSettings>,
}

impl Settings {
    /// Settings of this process: the command line together with `RUST_LOG` and the `OTEL_*` variables.
    pub fn from_env(args: &TelemetryArgs) -> Self {
        Self::from_lookup(args, |name| std::env::var(name).ok())
    }

    /// Settings of a program in the pods of a run: `RUST_LOG`, and no traces.
    pub fn for_programs(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let all = Self::from_lookup(&TelemetryArgs::default(), lookup);
        Self { traces: None, ..all }
    }

    /// As [`Settings::from_env`], with the variables from a function.
    pub fn from_lookup(args: &TelemetryArgs, lookup: impl Fn(&str) -> Option<String>) -> Self {
        // OpenTelemetry's rule, and RUST_LOG's habit: empty means unset.
        let set = |name: &str| {
            lookup(name)
                .map(|v| v.trim().to_owned())
                .filter(|v| !v.is_empty())
        };
        Self {
            log_format: args.log_format,
            log_filter: set("RUST_LOG"),
            traces: TraceSettings::from_lookup(set),
        }
    }
}

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter directives do not parse.
    #[error("RUST_LOG is not a valid filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The exporter needs plain HTTP.
    #[error(
        "OTLP endpoint {endpoint:?}: traces are sent over plain http:// only; \
         for TLS send them to a collector next to the operator"
    )]
    Endpoint {
        /// The rejected address.
        endpoint: String,
    },
    /// The exporter's configuration is invalid.
    #[error("OTLP exporter: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// A subscriber is installed already.
    #[error("logging is already set up: {0}")]
    Init(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps the export of spans going; dropping it, or [`Guard::shutdown`], sends the last ones.
#[must_use = "dropping the guard ends the export of spans"]
#[derive(Debug)]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Guard {
    /// Sends the spans that are still queued, for at most [`FLUSH_BUDGET`].
    ///
    /// Blocks the calling thread, which is harmless at the end of `main`: the exporter has a thread and a
    /// runtime of its own and does not need the caller's.
    pub fn shutdown(self) {
        drop(self);
    }

    /// Whether spans are exported.
    pub fn exports_spans(&self) -> bool {
        self.provider.is_some()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take()
            && let Err(error) = provider.shutdown_with_timeout(FLUSH_BUDGET)
        {
            warn!(%error, "the last spans were not delivered");
        }
    }
}

/// Installs the subscriber of this process, with the log on stderr.
pub fn init(settings: &Settings) -> Result<Guard, Error> {
    let (subscriber, guard) = subscriber(settings, std::io::stderr)?;
    subscriber.try_init()?;
    match &settings.traces {
        Some(traces) => debug!(endpoint = traces.endpoint, "exporting spans"),
        None => debug!("no OTLP endpoint: spans are not exported"),
    }
    Ok(guard)
}

/// The subscriber that [`init`] installs, for callers that scope it themselves.
pub fn subscriber<W>(
    settings: &Settings,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, Guard), Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let log = logs::layer(settings.log_format, settings.log_filter.as_deref(), writer)?;
    let provider = settings.traces.as_ref().map(traces::provider).transpose()?;
    let spans = provider.as_ref().map(traces::layer);
    let subscriber = tracing_subscriber::registry().with(log).with(spans);
    Ok((subscriber, Guard { provider }))
}
