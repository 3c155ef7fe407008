//! Events during the test: a runner is lost, all runners have ended, the merged result is there.

use super::aggregator::collected;
use super::ends::{Kind, failure, kind, tally};
use crate::machine::event::Event;
use crate::machine::observed::{End, Fact, Observed};
use crate::machine::state::{Started, Test};
use jiff::Timestamp;
use std::collections::BTreeMap;

pub(super) fn started(state: &Started, seen: &Observed, now: Timestamp) -> Option<Event> {
    if let Test::Collecting(ended) = &state.phase {
        return collected(ended.at, seen, now);
    }
    let none = BTreeMap::new();
    let runners = match &seen.runners {
        Fact::Known(runners) => runners,
        Fact::Absent => &none,
        Fact::Unknown => return None,
    };
    let gone = End {
        code: None,
        reason: None,
        message: "its Job was deleted during the test".to_owned(),
    };
    let ends: Vec<(u32, Option<&End>)> = (1..=state.plan.parallelism)
        .map(|i| {
            (
                i,
                runners.get(&i).map_or(Some(&gone), |runner| runner.end.as_ref()),
            )
        })
        .collect();
    if ends.iter().all(|(_, end)| end.is_some()) {
        return Some(Event::RunnersEnded {
            tally: tally(ends.into_iter().filter_map(|(i, e)| Some((i, e?)))),
        });
    }
    if state.phase == Test::OneLost {
        return None;
    }
    let mut ended = ends.into_iter().filter_map(|(i, end)| Some((i, end?)));
    let lost = ended.find(|(_, end)| matches!(kind(end.code), Kind::Threw | Kind::Failed))?;
    Some(Event::RunnerLost {
        failure: failure(lost.0, lost.1),
    })
}
