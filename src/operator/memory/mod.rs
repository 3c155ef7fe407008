//! What the operator remembers of each run beside its status. Losing it is harmless: all of it is found again. It
//! spares the API server repeated requests, and prevents actions on stale views.

mod expectations;
mod kept_result;
mod live_view;
mod pod_questions;
mod retries;
mod throttle;
mod told;

pub(super) use expectations::Expectations;
pub(super) use kept_result::KeptResult;
pub(super) use live_view::{LIVE_INTERVAL, LiveView};
pub(super) use pod_questions::{PodQuestions, Why};
pub(super) use retries::Retries;
pub(super) use throttle::StatusThrottle;
pub(super) use told::Told;

use super::caches::Unpacked;
use crate::api::LoadTest;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// One value for each run, by UID of the resource. Boxed, since a node of the map has room for eleven of them.
#[derive(Debug, Default)]
pub struct ByRun<T>(Mutex<BTreeMap<String, Box<T>>>);

impl<T: Default> ByRun<T> {
    /// Reads or changes the value of a run. The lock is held during `action`.
    pub fn with<R>(&self, uid: &str, action: impl FnOnce(&mut T) -> R) -> R {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        action(all.entry(uid.to_owned()).or_default())
    }

    fn forget(&self, uid: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(uid);
    }

    fn keep(&self, uids: &BTreeSet<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|uid, _| uids.contains(uid));
    }
}

/// All that is remembered.
#[derive(Debug, Default)]
pub struct Memory {
    /// What the caches may not show yet.
    pub expectations: ByRun<Expectations>,
    /// What failed or was refused, and how often in a row.
    pub retries: ByRun<Retries>,
    /// When the status was written, and since when it is outdated.
    pub throttle: ByRun<StatusThrottle>,
    /// The last reading of what is measured.
    pub live: ByRun<LiveView>,
    /// The result whose documents have just been kept.
    pub kept: ByRun<KeptResult>,
    /// The Jobs and pods of a run that is on, as its last look has unpacked them.
    pub unpacked: ByRun<Unpacked>,
    /// What is known about a Job without a pod.
    pub pod_questions: ByRun<PodQuestions>,
    /// Why a resource is left alone, as it was published.
    pub told: ByRun<Told>,
}

impl Memory {
    /// Remembers that the status was written, and the resource as it is now.
    /// The request was sent at this moment.
    pub fn written(&self, uid: &str, resource: LoadTest, sent: Instant) {
        self.expectations.with(uid, |known| known.read(resource, sent));
        self.throttle.with(uid, StatusThrottle::written);
        self.retries.with(uid, Retries::written);
    }

    /// Forgets what only a run needs that is on: the resource may stay for months.
    pub fn ended(&self, uid: &str) {
        self.live.forget(uid);
        self.kept.forget(uid);
        self.unpacked.forget(uid);
    }

    /// Forgets the resources that are not among these.
    pub fn keep(&self, uids: &BTreeSet<String>) {
        let Self {
            expectations,
            retries,
            throttle,
            live,
            kept,
            unpacked,
            pod_questions,
            told,
        } = self;
        expectations.keep(uids);
        retries.keep(uids);
        throttle.keep(uids);
        live.keep(uids);
        kept.keep(uids);
        unpacked.keep(uids);
        pod_questions.keep(uids);
        told.keep(uids);
    }
}
