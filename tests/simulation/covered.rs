//! Which faults of the simulation are those of the table, and which runs they meet in which state.

use super::faults::{ByHand, Fault, Injection, OnPod, OnRequest, OnWatch, Part};
use super::world::World;
use crate::coverage::happens;
use crate::table;

/// What a fault that strikes is in the table; of requests see [`of_request`].
pub fn of(fault: &Fault) -> Option<table::Fault> {
    match fault {
        Fault::Watch {
            what: OnWatch::Held(_) | OnWatch::Coalesced(_) | OnWatch::Silent,
            ..
        } => Some(table::Fault::StaleView),
        Fault::Crash { .. } => Some(table::Fault::OperatorKilled),
        Fault::Freeze { .. } => Some(table::Fault::OperatorFrozen),
        Fault::Clock { .. } => Some(table::Fault::ClockJump),
        Fault::Injection {
            part: Part::Runner(_),
            what: Injection::OutOfMemory,
            ..
        } => Some(table::Fault::RunnerOomKilled),
        Fault::Injection {
            what: Injection::Evicted | Injection::NodeLost,
            ..
        } => Some(table::Fault::NodeLost),
        Fault::Hand { what, .. } => match what {
            ByHand::Stop => Some(table::Fault::StopOrdered),
            ByHand::Delete { .. } | ByHand::Recreate(_) => Some(table::Fault::ResourceDeleted),
            ByHand::DeleteJob(Part::Runner(_)) => Some(table::Fault::RunnerJobDeleted),
            ByHand::DeletePod(Part::Runner(_)) => Some(table::Fault::RunnerPodDeleted),
            ByHand::DeleteJob(Part::Starter) | ByHand::DeletePod(Part::Starter) => {
                Some(table::Fault::StarterDeleted)
            }
            ByHand::DeleteScript => Some(table::Fault::ConfigMapDeleted),
            ByHand::Squat(..) => Some(table::Fault::ForeignObject),
            ByHand::Rerun
            | ByHand::Suspend(_)
            | ByHand::Edit(_)
            | ByHand::DeleteJob(_)
            | ByHand::Unlabel(_)
            | ByHand::DeletePod(_)
            | ByHand::DeleteTokens => None,
        },
        Fault::Refused { .. } => Some(table::Fault::RequestRefused),
        Fault::Watch { .. }
        | Fault::Compacted { .. }
        | Fault::Injection { .. }
        | Fault::Write { .. }
        | Fault::Read { .. }
        | Fault::Request { .. }
        | Fault::Outage { .. }
        | Fault::Pod { .. } => None,
    }
}

/// What became of a request.
pub fn of_request(what: OnRequest) -> table::Fault {
    match what {
        OnRequest::CrashBefore | OnRequest::CrashAfter => table::Fault::OperatorKilled,
        OnRequest::ReplyLost { .. } => table::Fault::ReplyLost,
        OnRequest::RequestLost { .. } | OnRequest::Late(_) | OnRequest::Answered(_) => {
            table::Fault::ApiServerFailing
        }
    }
}

/// What became of a pod.
pub fn of_pod(part: Part, what: OnPod) -> Option<table::Fault> {
    match (part, what) {
        (_, OnPod::KilledAfter(_)) => Some(table::Fault::StarterKilledHalfway),
        (_, OnPod::Unheard) => Some(table::Fault::NetworkCut),
        (Part::Runner(_), OnPod::Unschedulable(_) | OnPod::ImagePull(_) | OnPod::Denied(..)) => {
            Some(table::Fault::RunnerNeverReady)
        }
        (Part::Runner(_), OnPod::Refuses(_) | OnPod::Hangs(_) | OnPod::Broken(_)) => {
            Some(table::Fault::NetworkCut)
        }
        (
            Part::Initializer
            | Part::Starter
            | Part::Stopper
            | Part::Aggregator
            | Part::Service
            | Part::Script,
            OnPod::Unschedulable(_)
            | OnPod::Denied(..)
            | OnPod::ImagePull(_)
            | OnPod::Refuses(_)
            | OnPod::Hangs(_)
            | OnPod::Broken(_)
            | OnPod::Sidecar,
        )
        | (Part::Runner(_), OnPod::Sidecar) => None,
    }
}

impl World {
    /// Tells that a fault meets this test, or all that are there.
    pub fn covered(&self, fault: Option<table::Fault>, test: Option<usize>) {
        let Some(fault) = fault else { return };
        for index in 0..self.scenario.tests.len() {
            if test.is_none_or(|test| test == index)
                && let Some(state) = self.state_of(index)
            {
                happens(fault, state);
            }
        }
    }
}
