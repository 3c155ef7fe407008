//! Which actions of the model are faults.

use crate::model::{Action, Configuration};
use crate::table::Fault;
use crate::world::{Request, Role};

/// The fault that this action is in this configuration, if it is one.
pub fn fault(action: &Action, configuration: &Configuration) -> Option<Fault> {
    match action {
        Action::LooksUnanswered(_) | Action::DoesUnanswered(..) => Some(Fault::ReplyLost),
        Action::IsRefused(..) | Action::PodIsDenied(..) => Some(Fault::RequestRefused),
        Action::Does(_, Request::Create(role)) if configuration.foreign == Some(*role) => {
            Some(Fault::ForeignObject)
        }
        Action::Forgets(_) => Some(Fault::StaleView),
        // Between its look and what follows, the other acts: as one that was frozen and goes on.
        Action::Does(..) if configuration.operators > 1 => Some(Fault::OperatorFrozen),
        Action::Crashes(_) => Some(Fault::OperatorKilled),
        Action::ClockMoves => Some(Fault::DeadlinePassed),
        Action::RunnerIsKilled(..) => Some(Fault::RunnerOomKilled),
        Action::PodIsLost(..) => Some(Fault::RunnerPodDeleted),
        Action::JobIsDeleted(_, Role::Runner(_)) => Some(Fault::RunnerJobDeleted),
        Action::JobIsDeleted(_, Role::Starter) => Some(Fault::StarterDeleted),
        Action::StarterIsKilled(_) => Some(Fault::StarterKilledHalfway),
        Action::PersonStops => Some(Fault::StopOrdered),
        Action::PersonDeletes | Action::PersonDeletesInForeground => Some(Fault::ResourceDeleted),
        Action::SidecarEnds(..)
        | Action::SeesResource(_)
        | Action::SeesJobs(_)
        | Action::Looks(_)
        | Action::Does(..)
        | Action::ScriptIsInspected(_)
        | Action::ScriptIsRefused(_)
        | Action::RunnerAnswers(..)
        | Action::RunnerExits(..)
        | Action::JobIsDeleted(..)
        | Action::StarterFindsRunners(_)
        | Action::StarterReleases(_)
        | Action::StarterReports(_)
        | Action::StarterLeaves(_)
        | Action::StopperStops(_)
        | Action::StopperIsKilled(_)
        | Action::AggregatorAnswers(_)
        | Action::AggregatorBeginsAgain(_)
        | Action::AggregatorFails(_)
        | Action::ServiceIsDeleted(_)
        | Action::AggregatorTells(..)
        | Action::PodIsAdmitted(_)
        | Action::StopperIsGivenUp(_)
        | Action::PersonOrdersRerun
        | Action::PersonEdits
        | Action::SomebodyTouches
        | Action::GarbageIsCollected
        | Action::ResourceGoes => None,
    }
}
