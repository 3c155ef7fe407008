//! The states of a run, and the data that each needs for its next decision.

use super::event::Tally;
use super::terms::Terms;
use crate::k6::Version;
pub use crate::protocol::verdict::{Reason, RunResult};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use strum::IntoStaticStr;

/// The state of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// The spec is checked, and k6 itself archives and inspects the script, in the Job `<name>-initializer`.
    Initializing(Initializing),
    /// The Jobs `<name>-aggregator` and `<name>-1` to `<name>-N` are created. Each k6 waits, paused, until all are
    /// ready.
    Created(Created),
    /// The order to start exactly these pods is recorded. The Job `<name>-starter` runs setup() and releases them.
    Starting(Starting),
    /// All runners were released. When all have ended, the merged result is read and its summary kept.
    Started(Started),
    /// The order to stop is recorded. The runners that were released are stopped, and their result is collected.
    Stopping(Stopping),
    /// The run has ended, with a result.
    Finished(Finished),
}

/// A state without its data, as users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[allow(missing_docs)]
pub enum StateName {
    Initializing,
    Created,
    Starting,
    Started,
    Stopping,
    Finished,
}

impl StateName {
    /// All states, in the order of a run.
    pub const ALL: [Self; 6] = [
        Self::Initializing,
        Self::Created,
        Self::Starting,
        Self::Started,
        Self::Stopping,
        Self::Finished,
    ];

    /// The name of the state in the status.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Data of [`State::Initializing`].
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Initializing {
    /// The spec has not been accepted yet.
    #[default]
    New,
    /// The spec is accepted, and the script is inspected unless the run is suspended.
    Accepted(Accepted),
}

impl Initializing {
    /// What was accepted, if anything was yet.
    pub fn accepted(&self) -> Option<&Accepted> {
        match self {
            Self::New => None,
            Self::Accepted(accepted) => Some(accepted),
        }
    }
}

/// A spec that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The time at which the spec was accepted.
    pub at: Timestamp,
    /// metadata.generation of the spec.
    pub generation: i64,
    /// The terms that follow from the spec.
    pub terms: Terms,
}

/// The plan of a run, which follows from k6's answer about the script.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Number of runners.
    pub parallelism: u32,
    /// The most virtual users at any time, over all runners. Absent, as the next two, if the script was not inspected.
    #[serde(rename = "maxVUs", default, skip_serializing_if = "Option::is_none")]
    pub max_vus: Option<u64>,
    /// The longest that the scenarios can take, graceful stops included, as k6 prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_duration: Option<String>,
    /// Number of threshold expressions of the script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<u32>,
    /// Seconds after the start until a run that has not ended is stopped. Absent if the test has no end of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<u32>,
    /// Seconds that runners have to end after the order to stop, teardown() included. Default 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_seconds: Option<u32>,
    /// The tags of the script's options. The operator repeats them as arguments of k6, which ignores those of the script
    /// as soon as `--tag` is among its arguments.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The most requests per second of all runners together; each runner gets its share. Absent without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rps: Option<u64>,
    /// What the user should know, such as an uneven share of virtual users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// How the metrics of the runners are merged; absent if they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregation: Option<Aggregation>,
    /// The reason why the metrics of the runners are not merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_aggregated: Option<String>,
    /// How the operator's program gets into the runners; absent if it is copied.
    #[serde(default, skip_serializing_if = "ProgramSource::is_copied")]
    pub program: ProgramSource,
}

/// How the operator's program gets into a container whose image lacks it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum ProgramSource {
    /// An init container copies it into a volume.
    #[default]
    Copied,
    /// The operator's image is mounted as a volume.
    Mounted,
}

impl ProgramSource {
    fn is_copied(&self) -> bool {
        match self {
            Self::Copied => true,
            Self::Mounted => false,
        }
    }
}

impl Plan {
    /// How long runners have to end after the order to stop; then their Jobs are deleted.
    pub fn stop_grace(&self) -> SignedDuration {
        self.stop_seconds.map_or(STOP_GRACE, from_seconds)
    }

    /// How long after its start a run that has not ended is stopped; None if it has no end of its own.
    pub fn deadline(&self) -> Option<SignedDuration> {
        self.deadline_seconds.map(from_seconds)
    }

    /// How long the start may take beyond the timeout of the spec: setup() runs before the runners are released.
    pub fn setup_timeout(&self) -> SignedDuration {
        let once = self.aggregation.as_ref().and_then(|how| how.setup_seconds);
        once.map(from_seconds).unwrap_or_default()
    }
}

fn from_seconds(seconds: u32) -> SignedDuration {
    SignedDuration::from_secs(seconds.into())
}

/// How the metrics of the runners are merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Aggregation {
    /// The name of the OpenTelemetry output in this version of k6.
    pub output: String,
    /// The version of this k6, such as `1.1.0`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub k6_version: String,
    /// Seconds that setup() may take, if it runs once for the whole test. Absent if each runner runs its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup_seconds: Option<u32>,
    /// Seconds that teardown() may take, if it runs once for the whole test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teardown_seconds: Option<u32>,
    /// The system tags of the runners: k6's default without `url` and `name`, so that requests to many URLs make few
    /// series, and without those that no result shows. What a threshold names is kept, and so is a request's own `name`
    /// tag. Absent if nothing is left out, or the script sets its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_tags: Option<String>,
    /// Do without the tags `instance_id` and `testrun_name` where samples go nowhere else: nothing in the script names
    /// one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_own_tags: bool,
    /// The script's own metrics that its thresholds name. The k6 of each runner tells their types, even of a metric
    /// without samples.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub script_metrics: Vec<String>,
}

impl Aggregation {
    /// The version of k6; 1.1 in a plan that was recorded without one.
    pub fn version(&self) -> Version {
        self.k6_version.parse().unwrap_or(Version::new(1, 1, 0))
    }
}

/// How long runners have to end after the order to stop, where teardown() needs no more.
pub const STOP_GRACE: SignedDuration = SignedDuration::from_secs(60);

/// Data of [`State::Created`].
#[derive(Clone, Debug, PartialEq)]
pub struct Created {
    /// The time at which the script was inspected, or its inspection skipped.
    pub at: Timestamp,
    /// The spec of this run.
    pub accepted: Accepted,
    /// The plan of this run.
    pub plan: Plan,
}

/// Data of [`State::Starting`].
#[derive(Clone, Debug, PartialEq)]
pub struct Starting {
    /// The time at which the order to start was recorded.
    pub at: Timestamp,
    /// The spec of this run.
    pub accepted: Accepted,
    /// The plan of this run.
    pub plan: Plan,
    /// Digest of the pods that the order names.
    pub pods: String,
}

/// Data of [`State::Started`].
#[derive(Clone, Debug, PartialEq)]
pub struct Started {
    /// The time at which the start was confirmed.
    pub at: Timestamp,
    /// The plan of this run.
    pub plan: Plan,
    /// How far the test is.
    pub phase: Test,
}

/// The phases of [`State::Started`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// All runners run, or have ended well.
    Running,
    /// A runner failed while others go on. Only the first failure is an event of its own.
    OneLost,
    /// All runners have ended, and their merged result is awaited.
    Collecting(Ended),
}

impl Started {
    /// A test that begins.
    pub fn new(at: Timestamp, plan: Plan) -> Self {
        Self {
            at,
            plan,
            phase: Test::Running,
        }
    }
}

/// The end of all runners, before the result of the whole test is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The time at which the last runner was seen to have ended.
    pub at: Timestamp,
    /// The number of runners by how they ended.
    pub tally: Tally,
}

/// Data of [`State::Stopping`].
#[derive(Clone, Debug, PartialEq)]
pub struct Stopping {
    /// The time at which the order to stop was recorded.
    pub at: Timestamp,
    /// Number of runners of the run.
    pub runners: u32,
    /// How long the runners have to end.
    pub grace: SignedDuration,
    /// The verdict on the run, to which the merged result is added.
    pub why: Verdict,
    /// How far the stop is.
    pub phase: Stop,
}

/// The phases of [`State::Stopping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The runners are told to end. What comes then follows from what there is.
    Ending(AfterStop),
    /// The runners have stopped, and the merged result of what was measured until then is awaited.
    Collecting {
        /// The time at which the last runner was seen to have stopped.
        since: Timestamp,
    },
}

/// What comes when the last runner has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterStop {
    /// The merged result of what was measured until then is collected.
    Collect,
    /// The run is Finished: nothing was merged.
    Finish,
}

/// Data of [`State::Finished`].
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The time of the end.
    pub at: Timestamp,
    /// The verdict on the run.
    pub verdict: Verdict,
    /// Number of runners that ran the test to its end.
    pub completed: u32,
}

/// The verdict on a run, as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How the run ended.
    pub result: RunResult,
    /// Why it ended so, as one word that tools can match.
    pub reason: Reason,
    /// Why it ended so, as a sentence.
    pub message: String,
}

impl State {
    /// The time since which the merged result is awaited: all runners have ended or were stopped. None in any other
    /// phase.
    pub fn awaits_result(&self) -> Option<Timestamp> {
        match self {
            Self::Started(state) => match &state.phase {
                Test::Collecting(ended) => Some(ended.at),
                Test::Running | Test::OneLost => None,
            },
            Self::Stopping(state) => match state.phase {
                Stop::Collecting { since } => Some(since),
                Stop::Ending(_) => None,
            },
            Self::Initializing(_) | Self::Created(_) | Self::Starting(_) | Self::Finished(_) => None,
        }
    }

    /// True while the test runs: the runners were released, and have not all ended.
    pub fn runs_test(&self) -> bool {
        matches!(self, Self::Started(_)) && self.awaits_result().is_none()
    }

    /// The name of this state.
    pub fn name(&self) -> StateName {
        match self {
            Self::Initializing(_) => StateName::Initializing,
            Self::Created(_) => StateName::Created,
            Self::Starting(_) => StateName::Starting,
            Self::Started(_) => StateName::Started,
            Self::Stopping(_) => StateName::Stopping,
            Self::Finished(_) => StateName::Finished,
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Initializing(Initializing::default())
    }
}
