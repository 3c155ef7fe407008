//! The metrics of the operator, named as in controller-runtime where it has the same metric, so that existing
//! dashboards and alerts fit.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The buckets of controller-runtime.
const RECONCILE_BUCKETS: [f64; 40] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25,
    1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0,
    50.0, 60.0,
];

type Label = Cow<'static, str>;

/// How a reconcile ended, in controller-runtime's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// Nothing is left to do until something changes.
    Success,
    /// It failed and will be retried.
    Error,
    /// It is repeated at once.
    Requeue,
    /// It is repeated after a time.
    RequeueAfter,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Success, Self::Error, Self::Requeue, Self::RequeueAfter];

    /// The value of the `result` label.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransitionLabels {
    from: Label,
    to: Label,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    state: Label,
    result: Label,
}

/// The metrics of one controller. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    /// Indexed by the outcome: the series exist from the start, so that rates do.
    reconciles: [Counter; 4],
    errors: Counter,
    seconds: Histogram,
    active: Gauge,
    depth: Gauge,
    adds: Counter,
    transitions: Family<TransitionLabels, Counter>,
    runs: Runs,
    retrying: Gauge,
    leads: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Metrics of the controller of that name.
    ///
    /// To be called once a process and early: it also takes the time for `process_start_time_seconds`.
    pub fn new(controller: &'static str) -> Self {
        let by_controller = vec![("controller", controller)];
        let by_name = vec![("name", controller)];
        let mut registry = Registry::default();

        // The names of counters lack the `_total` that the encoder appends.
        let reconciles = Family::<Vec<(&str, &str)>, Counter>::default();
        let series = Outcome::ALL.map(|outcome| {
            reconciles.get_or_create_owned(&vec![("controller", controller), ("result", outcome.as_str())])
        });
        let help = "Total number of reconciliations per controller";
        registry.register("controller_runtime_reconcile", help, reconciles);

        let errors = single(&by_controller, Counter::default);
        let help = "Total number of reconciliation errors per controller";
        registry.register("controller_runtime_reconcile_errors", help, errors.clone());

        let seconds = single(&by_controller, reconcile_histogram);
        let help = "Length of time per reconciliation per controller";
        registry.register("controller_runtime_reconcile_time_seconds", help, seconds.clone());

        let active = single(&by_controller, Gauge::<i64>::default);
        let help = "Number of currently used workers per controller";
        registry.register("controller_runtime_active_workers", help, active.clone());

        let depth = single(&by_name, Gauge::<i64>::default);
        registry.register("workqueue_depth", "Current depth of workqueue", depth.clone());

        let adds = single(&by_name, Counter::default);
        registry.register(
            "workqueue_adds",
            "Total number of adds handled by workqueue",
            adds.clone(),
        );

        let transitions = Family::<TransitionLabels, Counter>::default();
        let help = "Transitions of test runs between states";
        registry.register("k6_operator_transitions", help, transitions.clone());

        let by_lease = vec![("name", "k6-operator")];
        let leads = single(&by_lease, Gauge::<i64>::default);
        let help = "Whether this process leads, or needs no lease to act";
        registry.register("leader_election_master_status", help, leads.clone());

        let retrying = Gauge::<i64>::default();
        let help = "Test runs whose requests to the API server are refused or fail, and are tried again";
        registry.register("k6_operator_retrying_runs", help, retrying.clone());

        let runs = Runs::default();
        registry.register_collector(Box::new(runs.clone()));
        registry.register_collector(Box::new(Process {
            started: crate::clock::Clock::system().now(),
        }));

        Self {
            inner: Arc::new(Inner {
                registry,
                reconciles: series,
                errors: errors.get_or_create_owned(&by_controller),
                seconds: seconds.get_or_create_owned(&by_controller),
                active: active.get_or_create_owned(&by_controller),
                depth: depth.get_or_create_owned(&by_name),
                adds: adds.get_or_create_owned(&by_name),
                transitions,
                runs,
                retrying,
                leads: leads.get_or_create_owned(&by_lease),
            }),
        }
    }

    /// Counts an active worker until the timer is finished or dropped.
    pub fn reconcile_started(&self) -> ReconcileTimer {
        self.inner.active.inc();
        ReconcileTimer {
            metrics: self.clone(),
            started: Instant::now(),
        }
    }

    /// Counts a reconcile that ended.
    pub fn observe(&self, outcome: Outcome, took: Duration) {
        let inner = &self.inner;
        let [success, error, requeue, requeue_after] = &inner.reconciles;
        match outcome {
            Outcome::Success => success,
            Outcome::Error => {
                inner.errors.inc();
                error
            }
            Outcome::Requeue => requeue,
            Outcome::RequeueAfter => requeue_after,
        }
        .inc();
        inner.seconds.observe(took.as_secs_f64());
    }

    /// The number of objects that wait for a reconcile.
    pub fn queue_depth(&self, depth: usize) {
        self.inner.depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    /// Counts an object that entered the queue.
    pub fn queue_added(&self) {
        self.inner.adds.inc();
    }

    /// Whether this process acts.
    pub fn leads(&self, leads: bool) {
        self.inner.leads.set(i64::from(leads));
    }

    /// Counts a transition of a run.
    pub fn transition(&self, from: impl Into<Cow<'static, str>>, to: impl Into<Cow<'static, str>>) {
        let labels = TransitionLabels {
            from: from.into(),
            to: to.into(),
        };
        self.inner.transitions.get_or_create(&labels).inc();
    }

    /// Replaces the numbers of runs per state and result. What is not in `runs` is no longer reported.
    pub fn set_runs<S, R>(&self, runs: impl IntoIterator<Item = (S, R, usize)>)
    where
        S: Into<Cow<'static, str>>,
        R: Into<Cow<'static, str>>,
    {
        let runs = runs
            .into_iter()
            .map(|(state, result, count)| {
                (
                    RunLabels {
                        state: state.into(),
                        result: result.into(),
                    },
                    count,
                )
            })
            .collect();
        *self.inner.runs.0.write().unwrap_or_else(PoisonError::into_inner) = runs;
    }

    /// Replaces the number of runs whose requests are refused or fail.
    pub fn set_retrying(&self, runs: usize) {
        self.inner.retrying.set(i64::try_from(runs).unwrap_or(i64::MAX));
    }

    /// All metrics as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(8 * 1024);
        // Writing to a string does not fail, and our collectors pass on its result only.
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &self.inner.registry) {
            tracing::error!(%error, "metrics cannot be encoded");
        }
        text
    }
}

/// Measures one reconcile.
#[must_use = "a timer that is dropped observes nothing"]
#[derive(Debug)]
pub struct ReconcileTimer {
    metrics: Metrics,
    started: Instant,
}

impl ReconcileTimer {
    /// Counts the reconcile and its time.
    pub fn finish(self, outcome: Outcome) {
        self.metrics.observe(outcome, self.started.elapsed());
    }
}

impl Drop for ReconcileTimer {
    fn drop(&mut self) {
        // Not in `finish`: a reconcile that is cancelled no longer occupies a worker either.
        self.metrics.inner.active.dec();
    }
}

type Single<M> = Family<Vec<(&'static str, &'static str)>, M, fn() -> M>;

/// A family with its only series in place.
fn single<M: Clone>(labels: &Vec<(&'static str, &'static str)>, new: fn() -> M) -> Single<M> {
    let family = Single::new_with_constructor(new);
    let _created = family.get_or_create_owned(labels);
    family
}

fn reconcile_histogram() -> Histogram {
    Histogram::new(RECONCILE_BUCKETS)
}

/// Runs per state, replaced as a whole so that a scrape never sees half of an update.
#[derive(Debug, Clone, Default)]
struct Runs(Arc<RwLock<Vec<(RunLabels, usize)>>>);

impl Collector for Runs {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let runs = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let help = "Test runs known to the operator";
        let mut family = encoder.encode_descriptor("k6_operator_runs", help, None, MetricType::Gauge)?;
        for (labels, count) in runs.iter() {
            ConstGauge::new(*count).encode(family.encode_family(labels)?)?;
        }
        Ok(())
    }
}

/// Facts of the process, read at each scrape.
#[derive(Debug)]
struct Process {
    started: jiff::Timestamp,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let started = ConstGauge::new(self.started.as_duration().as_secs_f64());
        let help = "Start time of the process since unix epoch in seconds";
        let name = "process_start_time_seconds";
        started.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        if let Some(bytes) = resident_memory_bytes() {
            let help = "Resident memory size in bytes";
            let name = "process_resident_memory_bytes";
            ConstGauge::new(bytes).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Gauge,
            )?)?;
        }
        Ok(())
    }
}

/// The resident memory in bytes; None where there is no Linux `/proc`.
fn resident_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}
