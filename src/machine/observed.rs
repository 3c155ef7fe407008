//! One immutable snapshot of the world of one run. Each fact is known, absent or unknown; a failure of the
//! API is unknown, never an empty list.

use super::cleanup::Cleanup;
use super::inspection::{Inspection, InspectionError};
use super::pod_refusal::PodRefusal;
use super::state::Terms;
use crate::protocol::outcome::Outcome;
use crate::protocol::report::Report;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Something looked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact<T> {
    /// It is there.
    Known(T),
    /// It is not there.
    Absent,
    /// Nobody can say at the moment.
    Unknown,
}

impl<T> Fact<T> {
    /// What is there, if that is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(found) => Some(found),
            Self::Absent | Self::Unknown => None,
        }
    }

    /// Whether it is known not to be there.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Known(_) | Self::Unknown => false,
        }
    }

    /// The fact of a reference.
    pub fn as_ref(&self) -> Fact<&T> {
        match self {
            Self::Known(found) => Fact::Known(found),
            Self::Absent => Fact::Absent,
            Self::Unknown => Fact::Unknown,
        }
    }

    /// The same fact of something that follows from it.
    pub fn map<U>(self, to: impl FnOnce(T) -> U) -> Fact<U> {
        match self {
            Self::Known(found) => Fact::Known(to(found)),
            Self::Absent => Fact::Absent,
            Self::Unknown => Fact::Unknown,
        }
    }
}

impl<T> From<Option<T>> for Fact<T> {
    /// What was looked for for certain: it is there, or it is not.
    fn from(found: Option<T>) -> Self {
        found.map_or(Self::Absent, Self::Known)
    }
}

/// The world of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// metadata.generation.
    pub generation: i64,
    /// Whether the resource is being deleted: then nothing is made any more.
    pub deleting: bool,
    /// The terms of the spec, or what is wrong with it.
    pub terms: Result<Terms, String>,
    /// spec.rerun.
    pub rerun: Option<String>,
    /// spec.stop.
    pub stop: bool,
    /// When the resource is to be deleted.
    pub retention: Retention,
    /// Jobs of former runs of this resource.
    pub former: Vec<String>,
    /// Jobs of this run, once it is Finished.
    pub left: Left,
    /// The script: known to be there or to be missing, with the sentence that says what is; absent if the
    /// operator itself has to make its ConfigMap.
    pub script: Fact<Result<(), String>>,
    /// The initializer Job.
    pub initializer: Fact<Initializer>,
    /// The runners by number; one that is not in the map has no Job.
    pub runners: Fact<BTreeMap<u32, Runner>>,
    /// The starter Job.
    pub starter: Fact<Program>,
    /// The stopper Job.
    pub stopper: Fact<Program>,
    /// The aggregator Job.
    pub aggregator: Fact<Runner>,
    /// Where the runners reach it: `IP:PORT`. Known only where it matters.
    pub address: Fact<String>,
    /// What came of the test, as the aggregator has told it. Known only where it matters.
    pub result: Fact<Box<Outcome>>,
    /// Whether the summary of the run is kept. Known only where it matters.
    pub summary: Fact<()>,
    /// What the aggregator said last of the test so far.
    pub live: Option<Outcome>,
    /// An object that this run wanted and can't have.
    pub refused: Option<Refusal>,
    /// Why a Job that this run waits for has no pod. Known only once Kubernetes has refused it.
    pub pod_refused: Option<PodRefusal>,
    /// What Kubernetes' own events say of the object that is waited for.
    pub hint: Option<String>,
}

/// What the spec says of the resource's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// spec.cleanup.
    pub cleanup: Option<Cleanup>,
    /// spec.ttlSecondsAfterFinished.
    pub ttl_seconds: Option<i64>,
}

/// The Jobs of a Finished run, whose pods have the logs of k6. Those that bring its result are not among them: they go
/// when that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// How many seconds they are kept after the end of the run; None: as long as the resource is there.
    pub keep_seconds: Option<u32>,
    /// The names of those that nobody has deleted yet.
    pub jobs: Vec<String>,
}

/// Why an object can't be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The name is taken by an object that is not this run's.
    Foreign(String),
    /// The API server says that the object is invalid.
    Invalid(String),
    /// It was refused for now (a quota, an admission webhook); it is tried again until the deadline.
    ForNow(String),
    /// The API server has failed more than once in a row; it is tried again.
    Failed(String),
}

impl Refusal {
    /// What was said.
    pub fn message(&self) -> &str {
        match self {
            Self::Foreign(message)
            | Self::Invalid(message)
            | Self::ForNow(message)
            | Self::Failed(message) => message,
        }
    }
}

/// The initializer Job.
#[derive(Clone, Debug, PartialEq)]
pub enum Initializer {
    /// It goes on; with what its pod waits for.
    Running(Option<String>),
    /// It is of a spec that has been edited since.
    Outdated,
    /// It ended without an answer of k6's, since its pod was lost: evicted, deleted, or its node is gone.
    Lost(String),
    /// k6 printed what the script needs.
    Succeeded(Result<Inspection, InspectionError>),
    /// It succeeded, and its answer is recorded already.
    Done,
    /// k6 refused, or the pod failed.
    Failed(String),
    /// The script called `exec.test.abort()` while k6 loaded it.
    Aborted(String),
}

/// A starter or stopper Job.
#[derive(Clone, Debug, PartialEq)]
pub enum Program {
    /// It goes on; with what its pod waits for.
    Running(Option<String>),
    /// It ended and left its report.
    Reported(Report),
    /// It ended without a report.
    Failed(String),
}

/// A runner Job with its pod, or an aggregator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runner {
    /// The pod, if there is one.
    pub pod: Option<PodSeen>,
    /// How it ended, if it did.
    pub end: Option<End>,
    /// Its pod goes on though k6 has ended: another container of it runs, or its end is not reported yet.
    pub leftover: bool,
    /// When an end counts that Kubernetes may have brought about, should it not say why until then.
    pub settles: Option<Timestamp>,
}

/// A runner's pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSeen {
    /// metadata.uid.
    pub uid: String,
    /// status.podIP.
    pub ip: Option<String>,
    /// Whether its k6 answers.
    pub ready: bool,
    /// What Kubernetes says it waits for.
    pub waiting: Option<String>,
}

/// How a runner ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The exit code of k6, if it is known.
    pub code: Option<i32>,
    /// Kubernetes' reason, where it is more than Completed or Error.
    pub reason: Option<String>,
    /// The last words.
    pub message: String,
}

impl Observed {
    /// A world in which nothing is known yet.
    pub fn unknown(generation: i64, terms: Result<Terms, String>) -> Self {
        Self {
            generation,
            deleting: false,
            terms,
            rerun: None,
            stop: false,
            retention: Retention::default(),
            former: Vec::new(),
            left: Left::default(),
            script: Fact::Unknown,
            initializer: Fact::Unknown,
            runners: Fact::Unknown,
            starter: Fact::Unknown,
            stopper: Fact::Unknown,
            aggregator: Fact::Unknown,
            address: Fact::Unknown,
            result: Fact::Unknown,
            summary: Fact::Unknown,
            live: None,
            refused: None,
            pod_refused: None,
            hint: None,
        }
    }
}

impl Observed {
    /// The runners, as far as they are known, by number.
    pub(super) fn each_runner(&self) -> impl Iterator<Item = (u32, &Runner)> {
        self.runners
            .known()
            .into_iter()
            .flatten()
            .map(|(i, runner)| (*i, runner))
    }
}

impl Runner {
    /// What Kubernetes says its pod waits for.
    pub(super) fn waiting(&self) -> Option<&str> {
        self.pod.as_ref().and_then(|pod| pod.waiting.as_deref())
    }

    /// Whether its k6 answers and can be reached.
    pub fn is_ready(&self) -> bool {
        self.end.is_none() && self.pod.as_ref().is_some_and(|pod| pod.ready && pod.ip.is_some())
    }
}
