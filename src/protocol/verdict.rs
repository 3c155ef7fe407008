//! The results of a run and their reasons, as words that tools can match.

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RunResult {
    /// Every runner passed, and all thresholds hold over all runners.
    Passed,
    /// Thresholds were crossed, or the script marked the test as failed (`exec.test.fail()`) and did not end it itself.
    Failed,
    /// A person, a signal or the script (`exec.test.abort()`) stopped the test.
    Aborted,
    /// The test could not be carried out as asked.
    Error,
}

impl RunResult {
    /// The word that users see.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The reason of a result, as a word that tools can match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Reason {
    /// Passed: every runner exited 0, and all thresholds hold over all runners.
    AllRunnersPassed,
    /// Failed: thresholds were crossed.
    ThresholdsCrossed,
    /// Failed: the script marked the test as failed (`exec.test.fail()`).
    TestFailed,
    /// Aborted: the script stopped the test (`exec.test.abort()`), or a signal or a call of k6's API did.
    TestAborted,
    /// Aborted: `spec.stop` was set.
    StopRequested,
    /// Error: a field of the spec can't be carried out. The message names the field and the remedy.
    InvalidSpec,
    /// Error: the ConfigMap, or the file in it, did not appear within 10 s.
    ScriptNotFound,
    /// Error: k6 refused the script or the arguments.
    ScriptError,
    /// Error: there are more runners than virtual users, or than the limit of requests per second allows.
    ParallelismTooHigh,
    /// Error: the script was not inspected within `timeouts.initialization`.
    InitializationDeadlineExceeded,
    /// Error: the runners were not ready, or not released, within `timeouts.start`.
    StartDeadlineExceeded,
    /// Error: not all runners could be released.
    StartFailed,
    /// Error: the test did not end in its time (`timeouts.run`).
    RunDeadlineExceeded,
    /// Error: a runner ended in an error, or was lost (OOMKilled, Evicted, deleted).
    RunnerFailed,
    /// Error: the script has thresholds, and it is not known whether they held; or the aggregator ended before the start.
    AggregationFailed,
    /// Error: another object has the name of one that this run needs. It is left alone.
    NameConflict,
    /// Error: the API server refused an object or a pod of this run, by a rule that waiting does not change (a LimitRange, Pod
    /// Security, a ResourceQuota that the pod can't meet). The message names the rule and the field to set.
    ObjectRefused,
}

impl Reason {
    /// The word that users see.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
