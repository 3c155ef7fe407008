//! The state machine of a run. Pure: no async, no Kubernetes client and no clock; the time is a parameter.
//!
//! [`classify`] finds the next event in a snapshot of the cluster, [`step`] decides the next state, [`replay`] folds a
//! history into a run, [`effects`] lists what a state wants created or deleted, and [`advance`] puts the first three
//! together for one look at a run.

mod advance;
mod classify;
mod cleanup;
mod deadline;
pub mod diagram;
mod effect;
mod event;
mod inspection;
mod judge;
mod observed;
mod pod_refusal;
mod pods_digest;
mod replay;
mod rerun;
mod state;
mod step;
mod stored;
mod terms;
mod verdict;
mod waiting;

pub use advance::{Advanced, Transition, advance};
pub use classify::classify;
pub(crate) use classify::rps_too_low;
pub use cleanup::Cleanup;
pub use deadline::{
    COLLECTION_GRACE, LEFTOVER_GRACE, SCRIPT_GRACE, SUMMARY_GRACE, expiry, expiry_of_jobs, overdue, wake_at,
};
pub use effect::{Effect, Target, are_as_ordered, effects, effects_unwritten};
pub use event::{Event, FORMER_AT_MOST, Former, HISTORY_LIMIT, NAMED_AT_MOST, Record, RunnerFailure, Tally};
pub(crate) use event::{MESSAGE_LIMIT, OUTCOME_LIMIT, clipped, length};
pub use inspection::{Inspection, InspectionError};
pub use judge::judge;
pub use observed::{
    End, Fact, Initializer, Left, Observed, ObservedPod, Program, Refusal, Retention, Runner,
};
pub use pod_refusal::{Part, PodRefusal, REFUSAL_GRACE, Rule};
pub use replay::{ReplayError, Run, append, replay};
pub(crate) use rerun::is_answered;
pub use rerun::rerun_ordered;
pub use state::{
    Accepted, AfterStop, Aggregation, Created, Ended, Finished, Initializing, Plan, ProgramSource, Reason,
    RunResult, STOP_GRACE, Started, Starting, State, StateName, Stop, Stopping, Test, Verdict,
};
pub use step::{Step, step};
pub use terms::{Inspect, Metrics, Setup, Start, Terms, Thresholds};
pub use waiting::waiting_for;
