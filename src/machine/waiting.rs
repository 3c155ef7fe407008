//! What a run waits for, for status.message.

use super::observed::{Fact, Initializer, Observed, Program, Runner};
use super::pod_refusal::PodRefusal;
use super::state::{Created, Initializing, State};
use std::collections::BTreeMap;

/// What the run waits for, as a clause that follows "Waiting for". None if it is Finished.
pub fn waiting_for(state: &State, seen: &Observed) -> Option<String> {
    let waiting = match state {
        State::Initializing(state) => Some(inspection(state, seen)),
        State::Created(state) => runners_to_be_ready(state, seen),
        State::Starting(_) => {
            let why = match seen.starter.known() {
                Some(Program::Running(why)) => why.as_deref(),
                Some(Program::Reported(_) | Program::Failed(_)) | None => None,
            };
            Some(with("the starter to release the runners", why))
        }
        State::Started(_) | State::Stopping(_) if state.awaits_result().is_some() => Some(result(seen)),
        State::Started(state) => seen.runners.known().map(|runners| {
            let ended = runners.values().filter(|runner| runner.end.is_some()).count();
            format!("the runners to end: {ended} of {} have", state.plan.parallelism)
        }),
        State::Stopping(_) => Some("the runners to stop".to_owned()),
        State::Finished(_) => return None,
    };
    let refused = seen.refused.as_ref().map(|refusal| refusal.message().to_owned());
    let parts: Vec<String> = waiting
        .into_iter()
        .chain(refused)
        .chain(seen.pod_refused.as_ref().map(PodRefusal::clause))
        .chain(seen.hint.clone())
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn inspection(state: &Initializing, seen: &Observed) -> String {
    const INSPECTION: &str = "the initializer to inspect the script";
    if state.accepted().is_some_and(|accepted| accepted.terms.suspended) {
        return "spec.suspend to be set to false".to_owned();
    }
    match (&seen.initializer, &seen.script) {
        (Fact::Known(Initializer::Running(why)), _) => with(INSPECTION, why.as_deref()),
        (Fact::Known(Initializer::Lost(why)), _) => with(INSPECTION, Some(why)),
        (Fact::Known(_) | Fact::Absent | Fact::Unknown, Fact::Known(Err(missing))) => missing.clone(),
        (
            Fact::Known(_) | Fact::Absent | Fact::Unknown,
            Fact::Known(Ok(())) | Fact::Absent | Fact::Unknown,
        ) => INSPECTION.to_owned(),
    }
}

/// The aggregator comes first, and the runners beside it only if there is a reason for which one does not become ready.
fn runners_to_be_ready(state: &Created, seen: &Observed) -> Option<String> {
    let aggregator = match &seen.aggregator {
        _ if state.plan.aggregation.is_none() => None,
        Fact::Known(aggregator) if !aggregator.is_ready() => {
            Some(with("the aggregator to be ready", aggregator.waiting()))
        }
        Fact::Absent => Some("the aggregator to be made".to_owned()),
        Fact::Known(_) | Fact::Unknown => None,
    };
    let is_hindered = |runner: &Runner| !runner.is_ready() && runner.waiting().is_some();
    let runners = seen.runners.known();
    let runners = runners
        .filter(|runners| aggregator.is_none() || runners.values().any(is_hindered))
        .map(|runners| unready(state.plan.parallelism, runners));
    let parts: Vec<String> = aggregator.into_iter().chain(runners).collect();
    (!parts.is_empty()).then(|| parts.join(", and for "))
}

fn result(seen: &Observed) -> String {
    if seen.result.known().is_some() {
        return "the summary of all runners to be kept".to_owned();
    }
    let why = seen.aggregator.known().and_then(Runner::waiting);
    with("the result of all runners to be collected", why)
}

/// Names the first runner that is not ready, or rather one that says why.
fn unready(total: u32, runners: &BTreeMap<u32, Runner>) -> String {
    let ready = runners.values().filter(|runner| runner.is_ready()).count();
    let unready = || {
        let of = (1..=total).filter_map(|i| Some((i, runners.get(&i)?)));
        of.filter(|(_, runner)| !runner.is_ready())
    };
    let reason = unready()
        .find(|(_, runner)| runner.waiting().is_some())
        .or_else(|| unready().next())
        .map(|(i, runner)| with(&format!("runner {i}"), runner.waiting()));
    let what = format!("all runners to be ready: {ready} of {total} are");
    reason.map_or(what.clone(), |reason| format!("{what}, not {reason}"))
}

fn with(what: &str, why: Option<&str>) -> String {
    why.map_or_else(|| what.to_owned(), |why| format!("{what} ({why})"))
}
