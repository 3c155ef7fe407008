//! What every step of a reconcile may use.

use super::caches::Caches;
use super::leadership::Leadership;
use super::memory::Memory;
use super::telemetry::Metrics;
use crate::clock::Clock;
use crate::objects::Defaults;
use jiff::SignedDuration;
use kube::Client;
use kube_runtime::events::Recorder;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// What every step may use.
pub(super) struct Context {
    /// Each of its requests has a timeout: see `timeout`.
    pub client: Client,
    pub caches: Caches,
    pub memory: Memory,
    pub defaults: Defaults,
    /// How long the Jobs of a Finished run are kept; None: as long as its resource.
    pub keep_jobs: Option<SignedDuration>,
    pub clock: Clock,
    pub leadership: Leadership,
    pub metrics: Metrics,
    pub recorder: Recorder,
    /// The namespace that is watched, or all.
    pub scope: String,
    pub all_caches: Arc<[Caches]>,
    pub queued: Arc<Mutex<BTreeSet<String>>>,
    /// A permit to read a log of more than 256 KiB. There is one: a log takes many times its size while it is read.
    pub large_logs: Arc<Semaphore>,
    /// A permit for each look at a run that has ended: its Jobs and pods are unpacked for it, and all kept runs are
    /// looked at when the operator starts.
    pub ended_looks: Arc<Semaphore>,
}
