//! `(state, observed, now) -> Option<Event>`: the next thing that has happened and is not recorded yet.

use super::cleanup::Cleanup;
use super::event::{
    Event, Former, LAST_WORDS_LIMIT, MESSAGE_LIMIT, NAMED_AT_MOST, OUTCOME_LIMIT, REASON_LIMIT,
    RunnerFailure, Tally, clipped, sentence,
};
use super::inspection::Inspection;
use super::observed::{End, Fact, Initializer, Left, Observed, Program, Refusal, Retention, Runner};
use super::pod_refusal::{Part, PodRefusal};
use super::replay::Run;
use super::state::{
    Accepted, Aggregation, Created, Ended, Finished, Initializing, Plan, Reason, RunResult,
    STOP_GRACE_SECONDS, Started, Starting, State, Stopping, Terms,
};
use crate::k6::{Version, exit_code};
use crate::protocol::report::Report;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;

/// How long a script may be absent: a ConfigMap that is applied together with the resource may come second.
pub const SCRIPT_GRACE: SignedDuration = SignedDuration::from_secs(10);

/// How much longer than its teardown() a stop may take: the others of the test end first, and then all export.
const TEARDOWN_GRACE_SECONDS: u64 = 30;

/// How long a test may take whose script was not inspected: a day.
const UNKNOWN_RUN_SECONDS: u32 = 24 * 3600;

/// How long the merged result may take once all runners have ended.
pub const COLLECTION_GRACE: SignedDuration = SignedDuration::from_secs(150);

/// How long the documents of a result are tried to be kept, from the end of the last runner on: as long as the result
/// may take. Then the run is Finished without them.
pub const SUMMARY_GRACE: SignedDuration = COLLECTION_GRACE;

/// How long after the end of the run the other containers of a runner's pod have to end by themselves: one that
/// ships logs, for example. Then the runner's Job is deleted.
pub const LEFTOVER_GRACE: SignedDuration = SignedDuration::from_secs(60);

/// What k6 calls its OpenTelemetry output, by the first version that has it under that name.
/// <https://grafana.com/docs/k6/latest/results-output/real-time/opentelemetry/>
const OUTPUTS: [(Version, &str); 2] = [
    (Version::new(1, 4, 0), "opentelemetry"),
    (Version::new(0, 53, 0), "experimental-opentelemetry"),
];

/// The longest options of a script that an aggregator can be given, in bytes: Linux gives a program no longer word
/// than 128 KiB.
const OPTIONS_LIMIT: usize = 100_000;

/// Added to what k6 says a test can take at most, for the slow end of a loaded runner.
const RUN_GRACE_SECONDS: u64 = 300;

/// The next event, if anything has happened.
pub fn classify(state: &State, seen: &Observed, now: Timestamp) -> Option<Event> {
    if seen.deleting {
        return None;
    }
    let happened = refused(state, seen, now)
        .or_else(|| stopped(state, seen))
        .or_else(|| match state {
            State::Initializing(state) => match &state.accepted {
                Some(accepted) if accepted.generation == seen.generation => initializing(accepted, seen, now),
                // An edit: the runners are not made yet, and what was found of the old spec does not count.
                None | Some(_) => Some(accept(seen)),
            },
            State::Created(state) => created(state, seen),
            State::Starting(state) => starting(state, seen),
            State::Started(state) => started(state, seen, now),
            State::Stopping(state) => stopping(state, seen, now),
            State::Finished(_) => None,
        });
    happened
        .or_else(|| deadline_passed(state, seen, now))
        .map(bounded)
}

fn deadline_passed(state: &State, seen: &Observed, now: Timestamp) -> Option<Event> {
    // The grace of a stop is spent in `stopping`: a run that can't be seen is not given up a second time.
    if matches!(state, State::Stopping(Stopping { stopped: None, .. })) || !overdue(state, now) {
        return None;
    }
    let waiting_for = waiting_for(state, seen).unwrap_or_else(|| "the cluster to answer".to_owned());
    Some(Event::DeadlinePassed { waiting_for })
}

/// The most bytes that the tags of a script may have, names and values together.
const TAGS_LIMIT: usize = 2048;

/// The event, no longer than the history has room for, whatever k6 or the API server had to say.
fn bounded(event: Event) -> Event {
    let cut = |message: String| clipped(&message, MESSAGE_LIMIT);
    match event {
        Event::SpecRejected { rerun, message } => Event::SpecRejected {
            rerun,
            message: cut(message),
        },
        Event::ScriptInspected { plan } => Event::ScriptInspected {
            plan: Plan {
                total_duration: plan.total_duration.map(|text| clipped(&text, REASON_LIMIT)),
                ..plan
            },
        },
        Event::ScriptRejected { reason, message } => Event::ScriptRejected {
            reason,
            message: cut(message),
        },
        Event::ObjectRefused { reason, message } => Event::ObjectRefused {
            reason,
            message: cut(message),
        },
        Event::StartFailed {
            released,
            aborted,
            message,
        } => Event::StartFailed {
            released,
            aborted,
            message: cut(message),
        },
        Event::DeadlinePassed { waiting_for } => Event::DeadlinePassed {
            waiting_for: cut(waiting_for),
        },
        Event::AggregatorLost { message } => Event::AggregatorLost {
            message: cut(message),
        },
        Event::CollectionFailed { message } => Event::CollectionFailed {
            message: cut(message),
        },
        Event::ResultCollected { outcome, unkept } => Event::ResultCollected {
            outcome: outcome.shortened(OUTCOME_LIMIT),
            unkept: unkept.map(|why| clipped(&why, LAST_WORDS_LIMIT)),
        },
        // Bounded where they are made: see `failure`, `tally` and `rerun_ordered`.
        Event::RunnerLost { .. } | Event::RunnersEnded { .. } | Event::RerunOrdered { .. } => event,
        // Numbers, a digest, and spec.rerun, which the API server bounds.
        Event::Accepted { .. }
        | Event::InspectionSkipped { .. }
        | Event::StartOrdered { .. }
        | Event::StartConfirmed { .. }
        | Event::RunnersStarted { .. }
        | Event::StopOrdered {}
        | Event::RunnersStopped { .. } => event,
    }
}

/// Whether the deadline of this state has passed.
pub fn overdue(state: &State, now: Timestamp) -> bool {
    deadline(state).is_some_and(|deadline| now >= deadline)
}

/// Whether this is the run that the spec asks for, and not one before it.
pub(crate) fn is_answered(run: &Run, seen: &Observed) -> bool {
    seen.rerun.is_none() || seen.rerun == run.rerun
}

/// The order of a new run: spec.rerun says something else than what the run that is Finished answers.
pub fn rerun_ordered(run: &Run, seen: &Observed) -> Option<Event> {
    let State::Finished(Finished { at, verdict, .. }) = &run.state else {
        return None;
    };
    let asked = !seen.deleting && !is_answered(run, seen);
    asked.then(|| Event::RerunOrdered {
        attempt: run.attempt.saturating_add(1),
        former: Former {
            result: verdict.result,
            reason: verdict.reason,
            end_time: *at,
            duration: run.duration(),
            message: clipped(&verdict.message, LAST_WORDS_LIMIT),
        },
    })
}

/// When a Finished resource is to be deleted, if its spec says so.
pub fn expiry(state: &State, retention: Retention) -> Option<Timestamp> {
    let State::Finished(Finished { at, verdict, .. }) = state else {
        return None;
    };
    let Retention { cleanup, ttl_seconds } = retention;
    let at_once = match cleanup {
        Some(Cleanup::Post) => true,
        Some(Cleanup::OnSuccess) => verdict.result == RunResult::Passed,
        None => false,
    };
    let after = ttl_seconds.and_then(|ttl| at.checked_add(SignedDuration::from_secs(ttl.max(0))).ok());
    at_once.then_some(*at).into_iter().chain(after).min()
}

/// When the Jobs of a run that has ended are deleted, if any are left.
pub fn expiry_of_jobs(state: &State, left: &Left) -> Option<Timestamp> {
    let State::Finished(Finished { at, .. }) = state else {
        return None;
    };
    let Left { keep_seconds, jobs } = left;
    let seconds = keep_seconds.filter(|_| !jobs.is_empty())?;
    at.checked_add(SignedDuration::from_secs(seconds.into())).ok()
}

/// The moment at which something happens even if nothing is observed any more.
pub fn wake_at(state: &State, seen: &Observed) -> Option<Timestamp> {
    let settles = seen.each_runner().filter_map(|(_, runner)| runner.settles).min();
    let waits = !matches!(state, State::Finished(_));
    let settles = settles.filter(|_| waits);
    settles.into_iter().chain(of_this_state(state, seen)).min()
}

fn of_this_state(state: &State, seen: &Observed) -> Option<Timestamp> {
    let deadline = deadline(state).or_else(|| expiry(state, seen.retention));
    let of_jobs = expiry_of_jobs(state, &seen.left);
    let deadline = deadline.into_iter().chain(of_jobs).min();
    let state = match state {
        State::Initializing(state) => state,
        State::Finished(end) => {
            let leftover = seen.each_runner().any(|(_, runner)| runner.leftover);
            let limit = end.at.checked_add(LEFTOVER_GRACE).ok().filter(|_| leftover);
            return limit.into_iter().chain(deadline).min();
        }
        State::Created(_) | State::Starting(_) | State::Started(_) | State::Stopping(_) => {
            let kept = state
                .awaits_result()
                .filter(|_| matches!(seen.result, Fact::Known(_)))
                .and_then(|since| since.checked_add(SUMMARY_GRACE).ok());
            return kept.into_iter().chain(deadline).min();
        }
    };
    let grace = state
        .accepted
        .as_ref()
        .and_then(|accepted| accepted.at.checked_add(SCRIPT_GRACE).ok());
    match (&seen.script, &seen.initializer) {
        (Fact::Known(Err(_)), Fact::Absent) => grace.into_iter().chain(deadline).min(),
        (Fact::Known(Ok(())) | Fact::Absent | Fact::Unknown, Fact::Absent)
        | (Fact::Known(_) | Fact::Absent | Fact::Unknown, Fact::Known(_) | Fact::Unknown) => deadline,
    }
}

fn deadline(state: &State) -> Option<Timestamp> {
    let seconds = |limit: u32| SignedDuration::from_secs(limit.into());
    let (since, limit) = match state {
        State::Initializing(state) => {
            let accepted = state
                .accepted
                .as_ref()
                .filter(|accepted| !accepted.terms.suspended)?;
            (
                accepted.at,
                seconds(accepted.terms.initialization_timeout_seconds),
            )
        }
        State::Created(Created { at, accepted, .. }) => (*at, seconds(accepted.terms.start_timeout_seconds)),
        State::Starting(Starting {
            at, accepted, plan, ..
        }) => {
            let setup = plan.aggregation.as_ref().and_then(|how| how.setup_seconds);
            let limit = accepted.terms.start_timeout_seconds;
            (*at, seconds(limit.saturating_add(setup.unwrap_or_default())))
        }
        State::Started(Started {
            ended: Some(Ended { at, .. }),
            ..
        })
        | State::Stopping(Stopping {
            stopped: Some(at), ..
        }) => (*at, COLLECTION_GRACE),
        State::Started(state) => (state.at, seconds(state.plan.deadline_seconds?)),
        State::Stopping(state) => (state.at, seconds(state.grace_seconds)),
        State::Finished(_) => return None,
    };
    since.checked_add(limit).ok()
}

fn refused(state: &State, seen: &Observed, now: Timestamp) -> Option<Event> {
    // A run that is not accepted yet has made nothing: the refusal is of an object of a former run. So is that of an
    // object of the spec before an edit, which may be the remedy.
    let unaccepted = matches!(state, State::Initializing(Initializing { accepted: None }));
    let ended = state.awaits_result().is_some();
    if unaccepted
        || is_edited(state, seen, now)
        || !ended && matches!(state, State::Stopping(_) | State::Finished(_))
    {
        return None;
    }
    match &seen.refused {
        // Of the summary: see `collected`.
        Some(_) if ended => {}
        Some(Refusal::Foreign(message)) => {
            return Some(Event::ObjectRefused {
                reason: Reason::NameConflict,
                message: message.clone(),
            });
        }
        Some(Refusal::Invalid(message)) => {
            return Some(Event::ObjectRefused {
                reason: Reason::ObjectRefused,
                message: message.clone(),
            });
        }
        Some(Refusal::ForNow(_) | Refusal::Failed(_)) | None => {}
    }
    let refusal = seen.pod_refused.as_ref().filter(|refusal| refusal.is_final())?;
    if !needs(state, refusal.part) || ended && matches!(seen.result, Fact::Known(_)) {
        return None;
    }
    Some(if ended {
        Event::CollectionFailed {
            message: refusal.clause(),
        }
    } else {
        Event::ObjectRefused {
            reason: Reason::ObjectRefused,
            message: sentence(&refusal.clause()),
        }
    })
}

/// Whether, before the runners are made, the spec is another than the one that was accepted, or is accepted at this very
/// look.
fn is_edited(state: &State, seen: &Observed, now: Timestamp) -> bool {
    match state {
        State::Initializing(Initializing {
            accepted: Some(accepted),
        }) => accepted.generation != seen.generation || accepted.at == now,
        State::Initializing(_)
        | State::Created(_)
        | State::Starting(_)
        | State::Started(_)
        | State::Stopping(_)
        | State::Finished(_) => false,
    }
}

/// Whether a run does not get out of this state without a pod of this part.
fn needs(state: &State, part: Part) -> bool {
    match state {
        State::Initializing(state) => {
            let accepted = state.accepted.as_ref();
            part == Part::Initializer && accepted.is_some_and(|accepted| !accepted.terms.suspended)
        }
        State::Created(_) => matches!(part, Part::Aggregator | Part::Runner(_)),
        State::Starting(_) => part == Part::Starter,
        State::Started(_) | State::Stopping(_) => part == Part::Aggregator && state.awaits_result().is_some(),
        State::Finished(_) => false,
    }
}

/// What is told of a pod of this part that is refused.
fn refusal_of(seen: &Observed, part: Part) -> Option<&PodRefusal> {
    seen.pod_refused.as_ref().filter(|refusal| refusal.part == part)
}

fn accept(seen: &Observed) -> Event {
    let rerun = seen.rerun.clone();
    match &seen.terms {
        Ok(terms) => Event::Accepted {
            generation: seen.generation,
            rerun,
            terms: terms.clone(),
        },
        Err(message) => Event::SpecRejected {
            rerun,
            message: message.clone(),
        },
    }
}

/// A person's wish to stop. Runners that have all ended by themselves leave nothing to stop.
fn stopped(state: &State, seen: &Observed) -> Option<Event> {
    let possible = match state {
        State::Initializing(state) => state.accepted.is_some(),
        State::Created(state) => !(state.accepted.terms.unpaused && all_ended(state.plan.parallelism, seen)),
        State::Starting(state) => {
            let confirmed = matches!(starting(state, seen), Some(Event::StartConfirmed { .. }));
            !(confirmed && all_ended(state.plan.parallelism, seen))
        }
        // One whose Job is gone has not ended by itself: the order may have been carried out before it could be written.
        State::Started(state) => state.ended.is_none() && !all_ended(state.plan.parallelism, seen),
        State::Stopping(_) | State::Finished(_) => false,
    };
    (possible && seen.stop).then_some(Event::StopOrdered {})
}

fn all_ended(parallelism: u32, seen: &Observed) -> bool {
    let Fact::Known(runners) = &seen.runners else {
        return false;
    };
    (1..=parallelism).all(|i| runners.get(&i).is_some_and(|runner| runner.end.is_some()))
}

fn initializing(accepted: &Accepted, seen: &Observed, now: Timestamp) -> Option<Event> {
    let terms = &accepted.terms;
    if terms.suspended {
        return None;
    }
    if terms.uninspected && seen.script == Fact::Known(Ok(())) {
        return Some(Event::InspectionSkipped {
            plan: Plan {
                parallelism: terms.parallelism,
                max_vus: None,
                total_duration: None,
                thresholds: None,
                deadline_seconds: Some(terms.run_timeout_seconds.unwrap_or(UNKNOWN_RUN_SECONDS)),
                stop_seconds: None,
                tags: BTreeMap::new(),
                rps: terms.rps.filter(|rps| *rps > 0),
                warning: None,
                aggregation: None,
                not_aggregated: Some(terms.unaggregated.clone().unwrap_or_else(|| {
                    "the script's thresholds are not known, as spec.initializer.disabled asks".to_owned()
                })),
            },
        });
    }
    // Seen at the very look at which the terms were accepted: it is of the terms before them.
    if accepted.at == now && matches!(seen.initializer, Fact::Known(_)) {
        return None;
    }
    let script_error = |message: String| Event::ScriptRejected {
        reason: Reason::ScriptError,
        message,
    };
    match &seen.initializer {
        Fact::Known(Initializer::Failed(message)) => Some(script_error(message.clone())),
        Fact::Known(Initializer::Aborted(message)) => Some(Event::ScriptRejected {
            reason: Reason::TestAborted,
            message: format!("The script aborted the test while k6 loaded it: {message}"),
        }),
        Fact::Known(Initializer::Succeeded(Err(e))) => Some(script_error(format!(
            "{e}; the runner image must have a k6 that knows `inspect --execution-requirements`"
        ))),
        Fact::Known(Initializer::Succeeded(Ok(inspection))) => {
            let parallelism = terms.parallelism;
            let max_vus = inspection.max_vus;
            if max_vus > 0 && u64::from(parallelism) > max_vus {
                return Some(Event::ScriptRejected {
                    reason: Reason::ParallelismTooHigh,
                    message: format!(
                        "spec.parallelism is {parallelism}, but the script has at most {max_vus} virtual \
                         users: some runners would have none; set parallelism to {max_vus} or less"
                    ),
                });
            }
            let rps = terms.rps.or(inspection.rps).filter(|rps| *rps > 0);
            if let Some(rps) = rps.filter(|rps| *rps < u64::from(parallelism)) {
                return Some(Event::ScriptRejected {
                    reason: Reason::ParallelismTooHigh,
                    message: rps_too_low(rps, parallelism),
                });
            }
            if let Some(wrong) = inspection.threshold_error.as_ref().filter(|_| !terms.unjudged) {
                return Some(script_error(wrong.clone()));
            }
            let (aggregation, not_aggregated) = match aggregation(terms, inspection) {
                Ok(how) => (Some(how), None),
                Err(why) => (None, Some(why)),
            };
            let uneven = max_vus % u64::from(parallelism.max(1)) != 0;
            let uneven = uneven.then(|| {
                format!(
                    "{max_vus} virtual users are not divisible by {parallelism} runners: shares differ by one"
                )
            });
            let (tags, untold) = tags(&inspection.tags);
            let untold = (!untold.is_empty()).then(|| {
                format!("k6 can't be given these tags of the script's options, and does without: {untold}")
            });
            let unlike = terms.unlike_runners.clone();
            let warnings: Vec<String> = uneven.into_iter().chain(untold).chain(unlike).collect();
            let warning = (!warnings.is_empty()).then(|| warnings.join("; "));
            let allowed = inspection
                .total_seconds
                .saturating_add(inspection.setup_seconds)
                .saturating_add(inspection.teardown_seconds);
            let stop_seconds = inspection.teardown_seconds.saturating_add(TEARDOWN_GRACE_SECONDS);
            let stop_seconds = u32::try_from(stop_seconds).unwrap_or(u32::MAX);
            let own = u32::try_from(allowed.saturating_add(RUN_GRACE_SECONDS)).ok();
            let own = own.filter(|_| inspection.total_seconds > 0);
            Some(Event::ScriptInspected {
                plan: Plan {
                    parallelism,
                    max_vus: Some(max_vus),
                    total_duration: Some(inspection.total_duration.clone()),
                    thresholds: Some(if terms.unjudged { 0 } else { inspection.thresholds }),
                    deadline_seconds: terms.run_timeout_seconds.or(own),
                    stop_seconds: (stop_seconds > STOP_GRACE_SECONDS).then_some(stop_seconds),
                    tags,
                    rps,
                    warning,
                    aggregation,
                    not_aggregated,
                },
            })
        }
        Fact::Absent => match &seen.script {
            Fact::Known(Err(missing)) => {
                let over = accepted.at.checked_add(SCRIPT_GRACE).is_ok_and(|end| now >= end);
                over.then(|| Event::ScriptRejected {
                    reason: Reason::ScriptNotFound,
                    message: missing.clone(),
                })
            }
            Fact::Known(Ok(())) | Fact::Absent | Fact::Unknown => None,
        },
        Fact::Known(
            Initializer::Running(_) | Initializer::Outdated | Initializer::Lost(_) | Initializer::Done,
        )
        | Fact::Unknown => None,
    }
}

/// k6 has only whole requests per second, and 0 is no limit.
pub(crate) fn rps_too_low(rps: u64, parallelism: u32) -> String {
    format!(
        "spec.parallelism is {parallelism}, but the test is limited to {rps} requests per second (rps): each runner needs \
         a share of at least 1; set parallelism to {rps} or less, or rps to {parallelism} or more"
    )
}

/// Those of the tags that stand on k6's command line, and the names of those that can't: k6 takes none without a
/// value, and all are kept in the status.
fn tags(all: &BTreeMap<String, String>) -> (BTreeMap<String, String>, String) {
    let mut room = TAGS_LIMIT;
    let (told, untold): (Vec<_>, Vec<_>) = all.iter().partition(|(name, value)| {
        let whole = !name.is_empty() && !value.is_empty() && !name.contains('=');
        let carried = whole && !name.contains('\0') && !value.contains('\0');
        let left = room.checked_sub(name.len() + value.len());
        room = left.filter(|_| carried).unwrap_or(room);
        carried && left.is_some()
    });
    let names: Vec<&str> = untold.iter().map(|(name, _)| name.as_str()).collect();
    let told = told
        .into_iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    (told.collect(), clipped(&names.join(", "), REASON_LIMIT))
}

/// How the metrics of the runners are merged, or why they are not.
fn aggregation(terms: &Terms, inspection: &Inspection) -> Result<Aggregation, String> {
    if let Some(why) = &terms.unaggregated {
        return Err(why.clone());
    }
    let version = inspection
        .version
        .ok_or("k6 did not tell its version, and it is not known whether it can export its metrics")?;
    let (_, output) = OUTPUTS
        .into_iter()
        .find(|(first, _)| version >= *first)
        .ok_or_else(|| {
            format!("k6 {version} can't export its metrics by OpenTelemetry: 0.53 and newer can")
        })?;
    if inspection.options.len() > OPTIONS_LIMIT {
        return Err(format!(
            "the script's thresholds take more than {OPTIONS_LIMIT} bytes"
        ));
    }
    let once = !terms.setup_per_runner && !inspection.left_out;
    let seconds = |seconds: u64| once.then(|| u32::try_from(seconds).unwrap_or(u32::MAX));
    Ok(Aggregation {
        output: output.to_owned(),
        k6_version: version.to_string(),
        setup_seconds: seconds(inspection.setup_seconds),
        teardown_seconds: seconds(inspection.teardown_seconds),
        system_tags: inspection.system_tags.as_ref().map(|tags| tags.join(",")),
        script_metrics: if terms.unjudged {
            Vec::new()
        } else {
            inspection.script_metrics.iter().cloned().collect()
        },
    })
}

/// Why an aggregator does not aggregate any more.
fn aggregator_end(seen: &Observed) -> Option<String> {
    match &seen.aggregator {
        Fact::Known(Runner { end: Some(end), .. }) => Some(match (&end.reason, end.code) {
            (Some(reason), _) => format!("{reason}: {}", end.message),
            (None, Some(code)) => format!("exit code {code}: {}", end.message),
            (None, None) => end.message.clone(),
        }),
        Fact::Known(_) | Fact::Absent | Fact::Unknown => None,
    }
}

fn created(state: &Created, seen: &Observed) -> Option<Event> {
    if state.plan.aggregation.is_some()
        && let Some(message) = aggregator_end(seen)
    {
        return Some(Event::AggregatorLost { message });
    }
    let Fact::Known(runners) = &seen.runners else {
        return None;
    };
    // The next one would have another address than these runners are told.
    if state.plan.aggregation.is_some() && seen.aggregator == Fact::Absent && !runners.is_empty() {
        return Some(Event::AggregatorLost {
            message: "its Job was deleted".to_owned(),
        });
    }
    let all = runners.keys().copied().eq(1..=state.plan.parallelism);
    if state.accepted.terms.unpaused {
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

fn starting(state: &Starting, seen: &Observed) -> Option<Event> {
    match &seen.starter {
        Fact::Known(Program::Reported(report))
            if report.confirmed == report.total && report.total == state.plan.parallelism =>
        {
            Some(Event::StartConfirmed {
                runners: report.total,
                spread_micros: report.spread_micros,
            })
        }
        Fact::Known(Program::Reported(report)) => Some(Event::StartFailed {
            released: (report.ordered == 0 || report.confirmed > 0).then_some(report.confirmed),
            aborted: report.aborted,
            message: not_released(report, state.plan.parallelism),
        }),
        Fact::Known(Program::Failed(message)) => Some(Event::StartFailed {
            released: None,
            aborted: false,
            message: format!("The starter ended without a report: {message}"),
        }),
        Fact::Absent => {
            let Fact::Known(runners) = &seen.runners else {
                return None;
            };
            // Paused runners do not end: one that did would be missing from the test.
            let ended = runners
                .iter()
                .find_map(|(i, runner)| Some((*i, runner.end.as_ref()?)));
            if let Some((runner, end)) = ended {
                return Some(Event::StartFailed {
                    released: None,
                    aborted: false,
                    message: format!("Before it was released, {}", failure(runner, end).clause()),
                });
            }
            let changed = pods_digest(runners).as_ref() != Some(&state.pods);
            changed.then(|| Event::StartFailed {
                released: None,
                aborted: false,
                message: "The runner pods are not those that the order to start names: at least one was \
                          deleted or replaced"
                    .to_owned(),
            })
        }
        Fact::Known(Program::Running(_)) | Fact::Unknown => None,
    }
}

fn not_released(report: &Report, runners: u32) -> String {
    let Report {
        total: _,
        ordered,
        confirmed,
        spread_micros: _,
        failures,
        aborted,
    } = report;
    // It is the script's own doing, and of all runners.
    if let (true, [failure]) = (aborted, failures.as_slice()) {
        return failure.message.clone();
    }
    let named: Vec<String> = failures
        .iter()
        .map(|f| format!("runner {}: {}", f.runner, f.message))
        .collect();
    let counted = if *ordered > 0 {
        format!("{confirmed} of {runners} runners confirmed their release")
    } else {
        format!("{confirmed} of {runners} runners were released")
    };
    if named.is_empty() {
        counted
    } else {
        format!("{counted}: {}", named.join("; "))
    }
}

fn started(state: &Started, seen: &Observed, now: Timestamp) -> Option<Event> {
    if state.ended.is_some() {
        return collected(state.ended.as_ref().map(|ended| ended.at), seen, now);
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
    if state.lost {
        return None;
    }
    let mut ended = ends.into_iter().filter_map(|(i, end)| Some((i, end?)));
    let lost = ended.find(|(_, end)| matches!(kind(end.code), Kind::Threw | Kind::Failed))?;
    Some(Event::RunnerLost {
        failure: failure(lost.0, lost.1),
    })
}

/// What came of the test, once its documents are kept or can't be.
fn collected(since: Option<Timestamp>, seen: &Observed, now: Timestamp) -> Option<Event> {
    match &seen.result {
        Fact::Known(outcome) => {
            let over = since
                .and_then(|since| since.checked_add(SUMMARY_GRACE).ok())
                .is_none_or(|end| now >= end);
            let unkept = match (&seen.summary, &seen.refused) {
                (Fact::Known(()), _) => None,
                (Fact::Absent | Fact::Unknown, Some(Refusal::Foreign(why) | Refusal::Invalid(why))) => {
                    Some(why.clone())
                }
                (Fact::Absent | Fact::Unknown, Some(Refusal::ForNow(why) | Refusal::Failed(why))) if over => {
                    Some(why.clone())
                }
                (Fact::Absent | Fact::Unknown, None) if over => Some("the cluster did not answer".to_owned()),
                (Fact::Absent | Fact::Unknown, Some(Refusal::ForNow(_) | Refusal::Failed(_)) | None) => {
                    return None;
                }
            };
            Some(Event::ResultCollected {
                outcome: outcome.as_ref().clone(),
                unkept,
            })
        }
        Fact::Unknown => None,
        Fact::Absent => {
            let gone = (seen.aggregator == Fact::Absent).then(|| "its Job was deleted".to_owned());
            let ended = aggregator_end(seen).or(gone)?;
            Some(Event::CollectionFailed {
                message: refusal_of(seen, Part::Aggregator)
                    .map_or_else(|| format!("the aggregator ended: {ended}"), PodRefusal::clause),
            })
        }
    }
}

fn stopping(state: &Stopping, seen: &Observed, now: Timestamp) -> Option<Event> {
    if state.stopped.is_some() {
        return collected(state.stopped, seen, now);
    }
    let alive = match &seen.runners {
        Fact::Known(runners) => runners.values().filter(|runner| runner.end.is_none()).count(),
        Fact::Absent => 0,
        Fact::Unknown => return None,
    };
    // What may still release a runner has to go first; without runners it is not waited for for ever.
    let starting = match &seen.starter {
        Fact::Known(Program::Running(_)) | Fact::Unknown => true,
        Fact::Known(Program::Reported(_) | Program::Failed(_)) | Fact::Absent => false,
    };
    if alive > 0 || starting && !stop_overdue(state, now) {
        return None;
    }
    let ended = match &seen.runners {
        Fact::Known(runners) => u32::try_from(runners.len()).unwrap_or(u32::MAX),
        Fact::Absent | Fact::Unknown => 0,
    };
    Some(Event::RunnersStopped {
        forced: state.runners.saturating_sub(ended),
    })
}

/// Whether runners that have not ended by now are to be deleted: they had their time, or nobody tells them to.
/// The end is told once they are gone, so that none that was slow begins to run after it.
pub(super) fn stop_is_forced(state: &Stopping, seen: &Observed, now: Timestamp) -> bool {
    // A stopper that could not do its work will not do it later.
    matches!(seen.stopper, Fact::Known(Program::Failed(_)))
        || refusal_of(seen, Part::Stopper).is_some_and(PodRefusal::is_final)
        || stop_overdue(state, now)
}

fn stop_overdue(state: &Stopping, now: Timestamp) -> bool {
    let grace = SignedDuration::from_secs(state.grace_seconds.into());
    state.at.checked_add(grace).is_ok_and(|end| now >= end)
}

/// In the order in which they decide the verdict, and in which runners are named: that of k6, where an exception or an
/// abort of the script counts before what `exec.test.fail()` and the thresholds say.
/// <https://github.com/grafana/k6/blob/v2.2.0/internal/cmd/run.go>
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Threw,
    AbortedItself,
    Marked,
    Crossed,
    Failed,
    Aborted,
    Passed,
}

fn kind(code: Option<i32>) -> Kind {
    match code.and_then(|code| u8::try_from(code).ok()) {
        Some(0) => Kind::Passed,
        Some(exit_code::THRESHOLDS_CROSSED) => Kind::Crossed,
        Some(exit_code::MARKED_AS_FAILED) => Kind::Marked,
        Some(exit_code::SCRIPT_ABORTED) => Kind::AbortedItself,
        Some(exit_code::STOPPED | exit_code::SIGNALLED) => Kind::Aborted,
        Some(exit_code::SETUP_TIMEOUT | exit_code::TEARDOWN_TIMEOUT | exit_code::SCRIPT_EXCEPTION) => {
            Kind::Threw
        }
        Some(_) | None => Kind::Failed,
    }
}

fn tally<'a>(ends: impl Iterator<Item = (u32, &'a End)>) -> Tally {
    let mut tally = Tally::default();
    let mut failures: Vec<(Kind, RunnerFailure)> = Vec::new();
    for (runner, end) in ends {
        let kind = kind(end.code);
        let count = match kind {
            Kind::Passed => &mut tally.passed,
            Kind::Crossed => &mut tally.crossed,
            Kind::Marked => &mut tally.marked,
            Kind::AbortedItself | Kind::Aborted => &mut tally.aborted,
            Kind::Threw | Kind::Failed => &mut tally.failed,
        };
        *count += 1;
        if kind != Kind::Passed {
            failures.push((kind, failure(runner, end)));
        }
    }
    // An abort does not hide that a runner was lost.
    let rank = |kind: Kind| {
        if kind == Kind::AbortedItself && tally.failed > 0 {
            Kind::Aborted
        } else {
            kind
        }
    };
    failures.sort_by_key(|(kind, failure)| (rank(*kind), failure.runner));
    tally.failures = failures
        .into_iter()
        .map(|(_, failure)| failure)
        .take(NAMED_AT_MOST)
        .collect();
    tally
}

fn failure(runner: u32, end: &End) -> RunnerFailure {
    let End {
        code,
        reason,
        message,
    } = end;
    RunnerFailure {
        runner,
        exit_code: *code,
        reason: reason.as_ref().map(|reason| clipped(reason, REASON_LIMIT)),
        message: clipped(message, LAST_WORDS_LIMIT),
    }
}

/// SHA-256 over the numbers and pod UIDs of all runners; None if one has no pod.
pub(super) fn pods_digest(runners: &BTreeMap<u32, Runner>) -> Option<String> {
    let mut hash = Sha256::new();
    for (i, runner) in runners {
        hash.update(format!("{i}={}\n", runner.pod.as_ref()?.uid));
    }
    let mut text = String::from("sha256:");
    for byte in hash.finalize() {
        write!(text, "{byte:02x}").ok()?;
    }
    Some(text)
}

/// What the run waits for at the moment, as a clause.
pub fn waiting_for(state: &State, seen: &Observed) -> Option<String> {
    let waiting = match state {
        State::Initializing(Initializing {
            accepted: Some(Accepted { terms, .. }),
        }) if terms.suspended => Some("spec.suspend to be set to false".to_owned()),
        State::Initializing(_) => match &seen.initializer {
            Fact::Known(Initializer::Running(why)) => {
                Some(with("the initializer to inspect the script", why.as_deref()))
            }
            Fact::Known(Initializer::Lost(why)) => {
                Some(with("the initializer to inspect the script", Some(why)))
            }
            Fact::Known(
                Initializer::Succeeded(_)
                | Initializer::Done
                | Initializer::Failed(_)
                | Initializer::Aborted(_)
                | Initializer::Outdated,
            )
            | Fact::Absent
            | Fact::Unknown => match &seen.script {
                Fact::Known(Err(missing)) => Some(missing.clone()),
                Fact::Known(Ok(())) | Fact::Absent | Fact::Unknown => {
                    Some("the initializer to inspect the script".to_owned())
                }
            },
        },
        State::Created(state) => match (&state.plan.aggregation, &seen.aggregator, &seen.runners) {
            (Some(_), Fact::Known(aggregator), _) if !aggregator.is_ready() => {
                let why = aggregator.pod.as_ref().and_then(|pod| pod.waiting.as_deref());
                Some(with("the aggregator to be ready", why))
            }
            (Some(_), Fact::Absent, _) => Some("the aggregator to be made".to_owned()),
            (None | Some(_), Fact::Known(_) | Fact::Absent | Fact::Unknown, Fact::Known(runners)) => {
                Some(unready(state.plan.parallelism, runners))
            }
            (None | Some(_), Fact::Known(_) | Fact::Absent | Fact::Unknown, Fact::Absent | Fact::Unknown) => {
                None
            }
        },
        State::Starting(_) => match &seen.starter {
            Fact::Known(Program::Running(why)) => {
                Some(with("the starter to release the runners", why.as_deref()))
            }
            Fact::Known(Program::Reported(_) | Program::Failed(_)) | Fact::Absent | Fact::Unknown => {
                Some("the starter to release the runners".to_owned())
            }
        },
        State::Started(Started { ended: Some(_), .. })
        | State::Stopping(Stopping { stopped: Some(_), .. }) => match (&seen.result, &seen.aggregator) {
            (Fact::Known(_), _) => Some("the summary of all runners to be kept".to_owned()),
            (Fact::Absent | Fact::Unknown, Fact::Known(aggregator)) => {
                let why = aggregator.pod.as_ref().and_then(|pod| pod.waiting.as_deref());
                Some(with("the result of all runners to be collected", why))
            }
            (Fact::Absent | Fact::Unknown, Fact::Absent | Fact::Unknown) => {
                Some("the result of all runners to be collected".to_owned())
            }
        },
        State::Started(state) => match &seen.runners {
            Fact::Known(runners) => {
                let ended = runners.values().filter(|runner| runner.end.is_some()).count();
                Some(format!(
                    "the runners to end: {ended} of {} have",
                    state.plan.parallelism
                ))
            }
            Fact::Absent | Fact::Unknown => None,
        },
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

fn unready(total: u32, runners: &BTreeMap<u32, Runner>) -> String {
    let ready = runners.values().filter(|runner| runner.is_ready()).count();
    let reason = (1..=total).find_map(|i| {
        let runner = runners.get(&i)?;
        let why = runner.pod.as_ref().and_then(|pod| pod.waiting.as_deref());
        (!runner.is_ready()).then(|| with(&format!("runner {i}"), why))
    });
    let what = format!("all runners to be ready: {ready} of {total} are");
    reason.map_or(what.clone(), |reason| format!("{what}, not {reason}"))
}

fn with(what: &str, why: Option<&str>) -> String {
    why.map_or_else(|| what.to_owned(), |why| format!("{what} ({why})"))
}
