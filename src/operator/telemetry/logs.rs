//! The log: its filter, and its lines as text or JSON.

use std::io::IsTerminal as _;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use super::Error;

/// The filter of the log, unless `RUST_LOG` sets one.
pub const DEFAULT_LOG_FILTER: &str = "info,kube=warn,hyper=warn,tower=warn,rustls=warn";

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The layer that writes the log. In both formats lines begin with the time in UTC, as in RFC 3339.
pub(super) fn layer<S, W>(
    format: LogFormat,
    filter: Option<&str>,
    writer: W,
) -> Result<Box<dyn Layer<S> + Send + Sync>, Error>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse(filter.unwrap_or(DEFAULT_LOG_FILTER))?;
    let base = tracing_subscriber::fmt::layer().with_writer(writer);
    Ok(match format {
        LogFormat::Text => base
            .compact()
            .with_ansi(std::io::stderr().is_terminal())
            .with_filter(filter)
            .boxed(),
        // All spans and not only the current one: the run's name is on the outermost.
        LogFormat::Json => base
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(true)
            .with_filter(filter)
            .boxed(),
    })
}
