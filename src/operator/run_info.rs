//! The facts about a run, beside its metrics, that its report shows. Pure.

use super::describe::note;
use crate::aggregate::report::{Line, RunInfo};
use crate::api::LoadTest;
use crate::machine::{Ended, Observed, Record, Run, Started, State, Test, append, judge, replay};
use kube::ResourceExt;
use std::collections::BTreeMap;

/// The maximum length of a sentence about an event or the end of a runner, in characters. Linux limits an argument of a
/// program to 128 KiB.
const LONGEST: usize = 300;

/// The maximum number of runners whose end is listed.
const ENDS: usize = 200;

/// Returns the facts about a run for its report.
pub fn about(run: &Run, resource: &LoadTest, seen: &Observed) -> RunInfo {
    let history = resource.status.as_ref().map(|status| status.history.as_slice());
    let mut so_far: Vec<Record> = Vec::new();
    let lines = history.unwrap_or_default().iter().map(|record| {
        append(&mut so_far, record.clone());
        let text = replay(&so_far).ok().and_then(|after| note(record, &after));
        Line {
            time: format!("{:.3}", record.time),
            event: record.event.name().to_owned(),
            text: text.unwrap_or_default().chars().take(LONGEST).collect(),
        }
    });
    let verdict = match &run.state {
        State::Started(Started {
            phase: Test::Collecting(Ended { tally, at: _ }),
            ..
        }) => Some(judge(tally)),
        State::Stopping(stopping) => Some(stopping.why.clone()),
        State::Initializing(_)
        | State::Created(_)
        | State::Starting(_)
        | State::Started(_)
        | State::Finished(_) => None,
    };
    let verdict = verdict.as_ref();
    RunInfo {
        result: verdict.map(|verdict| verdict.result.as_str().to_owned()),
        reason: verdict.map(|verdict| verdict.reason.as_str().to_owned()),
        message: verdict.map(|verdict| verdict.message.clone()),
        stopped: matches!(run.state, State::Stopping(_)),
        name: format!(
            "{}/{}",
            resource.namespace().unwrap_or_default(),
            resource.name_any()
        ),
        kind: resource.kind.as_str().to_owned(),
        start_spread_ms: run.spread.map(|spread| spread.as_secs_f64() * 1e3),
        history: lines.collect(),
        ends: ends(seen),
        ..RunInfo::default()
    }
}

fn ends(seen: &Observed) -> BTreeMap<u32, String> {
    let ended = seen
        .runners
        .known()
        .into_iter()
        .flatten()
        .filter_map(|(i, runner)| {
            let end = runner.end.as_ref()?;
            let code = end.code.map(|code| format!("exit code {code}"));
            let facts = code.into_iter().chain(end.reason.clone());
            let facts: Vec<_> = facts.collect();
            let facts = if facts.is_empty() {
                end.message.clone()
            } else {
                facts.join(", ")
            };
            Some((*i, facts.chars().take(LONGEST).collect()))
        });
    ended.take(ENDS).collect()
}
