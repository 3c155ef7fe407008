//! Events between the creation of the runners and the order to start.

use super::aggregator::aggregator_end;
use super::ends::failure;
use crate::machine::event::Event;
use crate::machine::observed::{Fact, Observed, Runner};
use crate::machine::pods_digest::pods_digest;
use crate::machine::state::Created;
use crate::machine::terms::Start;

pub(super) fn created(state: &Created, seen: &Observed) -> Option<Event> {
    if state.plan.aggregation.is_some()
        && let Some(message) = aggregator_end(seen)
    {
        return Some(Event::AggregatorLost { message });
    }
    let Fact::Known(runners) = &seen.runners else {
        return None;
    };
    // A new aggregator would have another address than the one that these runners have.
    if state.plan.aggregation.is_some() && seen.aggregator == Fact::Absent && !runners.is_empty() {
        return Some(Event::AggregatorLost {
            message: "its Job was deleted".to_owned(),
        });
    }
    let all = runners.keys().copied().eq(1..=state.plan.parallelism);
    if state.accepted.terms.start == Start::Immediate {
        let running = all
            && runners
                .values()
                .all(|runner| runner.is_ready() || runner.end.is_some());
        return running.then_some(Event::RunnersStarted {
            runners: state.plan.parallelism,
        });
    }
    let ended = runners
        .iter()
        .find_map(|(i, runner)| Some((*i, runner.end.as_ref()?)));
    if let Some((runner, end)) = ended {
        return Some(Event::RunnerLost {
            failure: failure(runner, end),
        });
    }
    let aggregating = state.plan.aggregation.is_none()
        || matches!(&seen.aggregator, Fact::Known(aggregator) if aggregator.is_ready());
    let ready = aggregating && runners.values().all(Runner::is_ready);
    let pods = pods_digest(runners).filter(|_| all && ready)?;
    Some(Event::StartOrdered {
        runners: state.plan.parallelism,
        pods,
    })
}
