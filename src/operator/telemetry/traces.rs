//! Spans to an OpenTelemetry collector, over OTLP/HTTP with protobuf.
//!
//! The SDK's batch processor exports from a thread of its own, outside any async runtime, while the HTTP client
//! of the exporter needs one. [`OwnRuntime`] gives it one on that thread. The operator's runtime therefore takes
//! no part in the export: a slow or absent collector delays nothing, and the last spans can be flushed from a
//! thread that blocks the operator's runtime.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, Key, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::Runtime;
use tracing::level_filters::LevelFilter;
use tracing::{Subscriber, info, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use super::Error;

/// Only spans of this crate are exported.
const TARGET: &str = "k6_operator";
const SERVICE_NAME: &str = "k6-operator";
/// The pause between two warnings about a collector that can't be reached.
const WARN_EVERY: Duration = Duration::from_secs(300);

/// Where spans are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSettings {
    /// The full address, path included.
    pub endpoint: String,
}

impl TraceSettings {
    /// Reads the standard variables. `lookup` returns non-empty values only.
    pub(super) fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Option<Self> {
        if lookup("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"))
            || lookup("OTEL_TRACES_EXPORTER").is_some_and(|v| v.eq_ignore_ascii_case("none"))
        {
            return None;
        }
        let endpoint = lookup("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| {
            lookup("OTEL_EXPORTER_OTLP_ENDPOINT")
                .map(|base| format!("{}/v1/traces", base.trim_end_matches('/')))
        })?;
        Some(Self { endpoint })
    }
}

/// A provider that exports in the background.
pub(super) fn provider(settings: &TraceSettings) -> Result<SdkTracerProvider, Error> {
    let plain = settings
        .endpoint
        .get(..7)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
    if !plain {
        return Err(Error::Endpoint {
            endpoint: settings.endpoint.clone(),
        });
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&settings.endpoint)
        .build()?;
    Ok(SdkTracerProvider::builder()
        .with_resource(resource())
        .with_batch_exporter(OwnRuntime::new(exporter, settings.endpoint.clone()))
        .build())
}

/// The layer that turns spans into OpenTelemetry's.
pub(super) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let scope = InstrumentationScope::builder(TARGET)
        .with_version(env!("CARGO_PKG_VERSION"))
        .build();
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer_with_scope(scope))
        .with_location(false)
        .with_threads(false)
        .with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO))
}

fn resource() -> Resource {
    // The detectors read OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, which win over the names built in.
    let detected = Resource::builder().build();
    let mut defaults = Vec::new();
    let named = detected
        .get(&Key::from_static_str("service.name"))
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    if !named {
        defaults.push(KeyValue::new("service.name", SERVICE_NAME));
    }
    if detected.get(&Key::from_static_str("service.version")).is_none() {
        defaults.push(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    Resource::builder().with_attributes(defaults).build()
}

/// Runs an exporter that needs a Tokio runtime on the thread that calls it.
#[derive(Debug)]
struct OwnRuntime {
    exporter: opentelemetry_otlp::SpanExporter,
    endpoint: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Created by the first export, so that it is created, used and dropped on the exporting thread.
    runtime: Option<Runtime>,
    /// Spans lost since the last success.
    lost: usize,
    warned: Option<Instant>,
}

impl OwnRuntime {
    fn new(exporter: opentelemetry_otlp::SpanExporter, endpoint: String) -> Self {
        Self {
            exporter,
            endpoint,
            state: Mutex::default(),
        }
    }
}

impl State {
    fn runtime(&mut self) -> std::io::Result<&Runtime> {
        match self.runtime.take() {
            Some(runtime) => Ok(self.runtime.insert(runtime)),
            None => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                Ok(self.runtime.insert(runtime))
            }
        }
    }

    /// Logs a failure once in a while, and its end once: the SDK's own messages are compiled out.
    fn report(&mut self, endpoint: &str, spans: usize, result: &OTelSdkResult) {
        match result {
            Ok(()) if self.lost > 0 => {
                info!(endpoint, lost = self.lost, "spans are exported again");
                self.lost = 0;
                self.warned = None;
            }
            Ok(()) => {}
            Err(error) => {
                self.lost += spans;
                if self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
                    self.warned = Some(Instant::now());
                    warn!(endpoint, lost = self.lost, %error, "spans cannot be exported");
                }
            }
        }
    }
}

impl SpanExporter for OwnRuntime {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        // Exports never overlap, so the lock is always free; it is needed for `&self` only.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match state.runtime() {
            Ok(runtime) => runtime.block_on(self.exporter.export(batch)),
            Err(error) => Err(OTelSdkError::InternalFailure(format!(
                "starting a runtime: {error}"
            ))),
        };
        state.report(&self.endpoint, spans, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = state.runtime.take() {
            // Waiting here could take as long as the name resolver.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(vars: &[(&str, &str)]) -> Option<String> {
        TraceSettings::from_lookup(|name| {
            vars.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| (*value).to_owned())
        })
        .map(|s| s.endpoint)
    }

    #[test]
    fn endpoint_follows_the_standard_variables() {
        assert_eq!(settings(&[]), None);
        assert_eq!(
            settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/")]).as_deref(),
            Some("http://c:4318/v1/traces")
        );
        let both = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/x"),
        ];
        assert_eq!(settings(&both).as_deref(), Some("http://t/x"));
        assert_eq!(settings(&[both[0], ("OTEL_SDK_DISABLED", "true")]), None);
        assert_eq!(settings(&[both[0], ("OTEL_TRACES_EXPORTER", "none")]), None);
    }

    #[test]
    fn tls_is_refused_clearly() {
        let settings = TraceSettings {
            endpoint: "https://collector:4318/v1/traces".to_owned(),
        };
        let error = provider(&settings).expect_err("https is not supported");
        assert!(error.to_string().contains("https://collector:4318"), "{error}");
    }

    #[derive(Clone, Default)]
    struct Log(std::sync::Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_long_outage_is_two_lines_of_log() {
        let log = Log::default();
        let writer = log.clone();
        let (subscriber, _guard) = crate::operator::telemetry::subscriber(
            &crate::operator::telemetry::Settings::default(),
            move || writer.clone(),
        )
        .unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let mut state = State::default();
            state.report("http://c", 1, &Ok(()));
            for _ in 0..100 {
                state.report(
                    "http://c",
                    5,
                    &Err(OTelSdkError::InternalFailure("down".to_owned())),
                );
            }
            state.report("http://c", 1, &Ok(()));
            state.report("http://c", 1, &Ok(()));
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains("WARN") && lines[0].contains("lost=5"), "{text}");
        assert!(
            lines[1].contains("INFO") && lines[1].contains("lost=500"),
            "{text}"
        );
    }
}
