//! PURE. What can happen to a run, and what follows from it.
//!
//! Nothing here knows of async, of a Kubernetes client or of a clock: time comes in with each event.
//! [`classify`] finds the next event in what was observed, [`step`] decides the next state, [`replay`]
//! folds a history into a run, and [`effects`] says what a state wants done.

mod classify;
mod cleanup;
pub mod diagram;
mod effect;
mod event;
mod inspection;
mod observed;
mod pod_refusal;
mod replay;
mod state;
mod step;

pub use classify::{
    COLLECTION_GRACE, LEFTOVER_GRACE, SCRIPT_GRACE, SUMMARY_GRACE, classify, expiry, expiry_of_jobs, overdue,
    rerun_ordered, waiting_for, wake_at,
};
pub(crate) use classify::{is_answered, rps_too_low};
pub use cleanup::Cleanup;
pub use effect::{Effect, Target, are_as_ordered, effects, effects_unwritten};
pub use event::{Event, FORMER_AT_MOST, Former, HISTORY_LIMIT, NAMED_AT_MOST, Record, RunnerFailure, Tally};
pub(crate) use event::{MESSAGE_LIMIT, OUTCOME_LIMIT, clipped, length};
pub use inspection::{Inspection, InspectionError};
pub use observed::{End, Fact, Initializer, Left, Observed, PodSeen, Program, Refusal, Retention, Runner};
pub use pod_refusal::{Part, PodRefusal, REFUSAL_GRACE, Rule};
pub use replay::{ReplayError, Run, append, replay};
pub use state::{
    Accepted, Aggregation, Created, Ended, Finished, Initializing, Plan, Reason, RunResult,
    STOP_GRACE_SECONDS, Started, Starting, State, StateName, Stopping, Terms, Verdict,
};
pub use step::{Step, judge, step};
