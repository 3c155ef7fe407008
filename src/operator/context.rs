//! What all steps of a reconcile use.

use super::caches::Caches;
use super::image_volumes::ImageVolumes;
use super::leadership::Leadership;
use super::memory::Memory;
use super::telemetry::Metrics;
use crate::clock::Clock;
use crate::objects::Defaults;
use jiff::SignedDuration;
use kube::Client;
use kube_runtime::events::Reporter;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// What all steps of a reconcile use, for one watched namespace.
pub(super) struct Context {
    /// Each of its requests has a timeout: see `timeout`.
    pub client: Client,
    pub caches: Caches,
    pub memory: Memory,
    pub defaults: Defaults,
    /// How long the Jobs of a Finished run are kept; None: as long as its resource.
    pub keep_jobs: Option<SignedDuration>,
    pub image_volumes: Arc<ImageVolumes>,
    pub clock: Clock,
    pub leadership: Leadership,
    pub metrics: Metrics,
    /// Who publishes Events.
    pub reporter: Reporter,
    /// The namespace that is watched; `all` for all of them.
    pub scope: String,
    pub all_caches: Arc<[Caches]>,
    pub queued: Arc<Mutex<BTreeSet<String>>>,
    /// A permit to read a log of more than 256 KiB. There is one: a log takes many times its size while it is read.
    pub large_logs: Arc<Semaphore>,
    /// Permits to look at runs that have ended. Each look unpacks the Jobs and pods of its run, and when the operator
    /// starts it looks at all runs that are kept.
    pub ended_looks: Arc<Semaphore>,
}
