//! One immutable snapshot of all that concerns a run in the cluster. Each fact is known, absent or unknown: what a
//! failed request should have told is unknown, never absent.

use super::cleanup::Cleanup;
use super::inspection::{Inspection, InspectionError};
use super::pod_refusal::PodRefusal;
use super::state::ProgramSource;
use super::terms::Terms;
use crate::protocol::outcome::Outcome;
use crate::protocol::report::Report;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// The result of a search.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact<T> {
    /// It exists.
    Known(T),
    /// It does not exist.
    Absent,
    /// It can't be told now: a request failed, or was not made.
    Unknown,
}

impl<T> Fact<T> {
    /// The value, if it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(found) => Some(found),
            Self::Absent | Self::Unknown => None,
        }
    }

    /// True if it does not exist. False if it exists or is unknown.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Known(_) | Self::Unknown => false,
        }
    }

    /// Converts to a fact that borrows the value.
    pub fn as_ref(&self) -> Fact<&T> {
        match self {
            Self::Known(found) => Fact::Known(found),
            Self::Absent => Fact::Absent,
            Self::Unknown => Fact::Unknown,
        }
    }

    /// Converts the value, if it is known.
    pub fn map<U>(self, to: impl FnOnce(T) -> U) -> Fact<U> {
        match self {
            Self::Known(found) => Fact::Known(to(found)),
            Self::Absent => Fact::Absent,
            Self::Unknown => Fact::Unknown,
        }
    }
}

impl<T> From<Option<T>> for Fact<T> {
    /// The result of a search that can't fail.
    fn from(found: Option<T>) -> Self {
        found.map_or(Self::Absent, Self::Known)
    }
}

/// A snapshot of all that concerns one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// metadata.generation of the resource.
    pub generation: i64,
    /// True if the resource is being deleted. Nothing is created any more then.
    pub deleting: bool,
    /// The terms that follow from the spec, or what is wrong with the spec.
    pub terms: Result<Terms, String>,
    /// spec.rerun of the resource.
    pub rerun: Option<String>,
    /// spec.stop of the resource.
    pub stop: bool,
    /// The rules by which the resource deletes itself after the run.
    pub retention: Retention,
    /// Names of the Jobs of former runs of this resource.
    pub former: Vec<String>,
    /// The Jobs of this run, once it is Finished.
    pub left: Left,
    /// How the operator's program gets into containers whose image lacks it. Looked up only until there is a plan, which
    /// records it.
    pub program: ProgramSource,
    /// The script: Ok if it is there, Err with a sentence that names what is missing, Absent if the operator has to
    /// create its ConfigMap from the spec.
    pub script: Fact<Result<(), String>>,
    /// The Job in which k6 inspects the script.
    pub initializer: Fact<Initializer>,
    /// The runners by number. A runner that is not in the map has no Job.
    pub runners: Fact<BTreeMap<u32, Runner>>,
    /// The Job that releases the runners.
    pub starter: Fact<Program>,
    /// The Job that stops the runners.
    pub stopper: Fact<Program>,
    /// The Job that merges the metrics of the runners.
    pub aggregator: Fact<Runner>,
    /// The address of the aggregator for the runners, as `IP:PORT`. Looked up only in states that need it.
    pub address: Fact<String>,
    /// The merged result that the aggregator reported. Looked up only in states that need it.
    pub result: Fact<Box<Outcome>>,
    /// The ConfigMap with the summary of the run. Looked up only in states that need it.
    pub summary: Fact<()>,
    /// The last intermediate result that the aggregator reported while the test runs.
    pub live: Option<Outcome>,
    /// An object that the run needs and that could not be created.
    pub refused: Option<Refusal>,
    /// The pod that Kubernetes refuses to create for a Job that the run waits for.
    pub pod_refused: Option<PodRefusal>,
    /// What Kubernetes' own Events say about the object that the run waits for.
    pub hint: Option<String>,
}

/// The rules by which a resource deletes itself after its run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// spec.cleanup of the resource.
    pub cleanup: Option<Cleanup>,
    /// spec.ttlSecondsAfterFinished of the resource.
    pub ttl: Option<SignedDuration>,
}

/// The Jobs of a Finished run, whose pods have the logs of k6. The aggregator is not among them: it is deleted once the
/// result is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// How long they are kept after the end of the run; None for as long as the resource exists.
    pub keep: Option<SignedDuration>,
    /// Names of the Jobs that are not deleted yet.
    pub jobs: Vec<String>,
}

/// The reason why an object could not be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The name is taken by an object of somebody else.
    Foreign(String),
    /// The API server refused the object as invalid.
    Invalid(String),
    /// The API server refused the object for now (a quota, an admission webhook). It is tried again until the deadline.
    ForNow(String),
    /// The API server has failed more than once in a row; it is tried again.
    Failed(String),
}

impl Refusal {
    /// The message, whatever the reason is.
    pub fn message(&self) -> &str {
        match self {
            Self::Foreign(message)
            | Self::Invalid(message)
            | Self::ForNow(message)
            | Self::Failed(message) => message,
        }
    }
}

/// The state of an initializer Job.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a look at one run has one of these")]
pub enum Initializer {
    /// It runs, or its pod waits for what is named here.
    Running(Option<String>),
    /// It was created for a spec that has been edited since.
    Outdated,
    /// Its pod was lost before k6 answered: evicted, deleted, or with its node. The reason is a clause.
    Lost(String),
    /// k6 inspected the script. Err if its output can't be read.
    Succeeded(Result<Inspection, InspectionError>),
    /// It succeeded, and k6's answer is recorded already.
    Done,
    /// k6 refused the script, or the pod failed, with this message.
    Failed(String),
    /// The script called `exec.test.abort()` while k6 loaded it, with this message.
    Aborted(String),
}

/// The state of a starter or stopper Job.
#[derive(Clone, Debug, PartialEq)]
pub enum Program {
    /// It runs, or its pod waits for what is named here.
    Running(Option<String>),
    /// It ended with a report.
    Reported(Report),
    /// It ended without a report, for this reason.
    Failed(String),
}

/// The Job of a runner or of the aggregator, with its pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runner {
    /// The pod, if there is one.
    pub pod: Option<ObservedPod>,
    /// The end of its k6, or of the aggregator; None while it runs.
    pub end: Option<End>,
    /// True if the pod is still there after the end of k6: another container runs, or its end is not reported yet.
    pub leftover: bool,
    /// The time until which Kubernetes may still report the cause of the end. Then the end counts without one.
    pub settles: Option<Timestamp>,
}

/// The pod of a runner or of the aggregator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedPod {
    /// metadata.uid of the pod.
    pub uid: String,
    /// status.podIP, once it has one.
    pub ip: Option<String>,
    /// True if its readiness probe succeeds.
    pub ready: bool,
    /// What the pod waits for according to Kubernetes, as a clause.
    pub waiting: Option<String>,
}

/// The end of a runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The exit code of k6; None if it is not known.
    pub code: Option<i32>,
    /// Kubernetes' reason, such as OOMKilled; None if it is only Completed or Error.
    pub reason: Option<String>,
    /// The end of the log, or a sentence.
    pub message: String,
}

impl Observed {
    /// A snapshot in which nothing is known yet.
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
            program: ProgramSource::default(),
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
    /// The known runners with their numbers.
    pub(super) fn each_runner(&self) -> impl Iterator<Item = (u32, &Runner)> {
        self.runners
            .known()
            .into_iter()
            .flatten()
            .map(|(i, runner)| (*i, runner))
    }
}

impl Runner {
    /// What its pod waits for according to Kubernetes.
    pub(super) fn waiting(&self) -> Option<&str> {
        self.pod.as_ref().and_then(|pod| pod.waiting.as_deref())
    }

    /// True if its k6 runs, answers its probe and has an address.
    pub fn is_ready(&self) -> bool {
        self.end.is_none() && self.pod.as_ref().is_some_and(|pod| pod.ready && pod.ip.is_some())
    }
}
