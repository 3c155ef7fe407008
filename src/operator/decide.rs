//! Decides what a look leads to: whether the status is written, which effects are performed, and when the next look
//! comes. Pure.

use super::backoff::backoff;
use super::memory::LIVE_INTERVAL;
use crate::api::Status;
use crate::machine::{Advanced, Effect, Observed, Plan, Refusal, Run, effects, wake_at};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Pauses before an object that was refused is created again, and before a failed read is repeated: the first and the
/// longest.
const REFUSED_RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(15));

/// The pause before the next look at a run whose moment has passed.
const OVERDUE_RETRY: Duration = Duration::from_secs(1);

/// Whether the status is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// The status is up to date.
    No,
    /// The status is written now.
    Now,
    /// Only the live view has changed. It is written after this pause.
    Later(Duration),
}

/// Decides whether this status replaces the one before. Events are written at once, and so is the answer to an edit of
/// the spec: until then tools take the status for outdated. The live view waits for `pause`.
pub fn write(
    before: Option<&Status>,
    status: &Status,
    advanced: &Advanced,
    seen: &Observed,
    pause: impl FnOnce() -> Duration,
) -> Write {
    if seen.deleting || before == Some(status) {
        return Write::No;
    }
    let edited = before.is_none_or(|before| before.observed_generation != status.observed_generation);
    if edited || !advanced.transitions.is_empty() {
        return Write::Now;
    }
    match pause() {
        Duration::ZERO => Write::Now,
        pause => Write::Later(pause),
    }
}

/// The effects to perform at this look. The end of a run is published before its resource is deleted.
pub fn wanted(advanced: &Advanced, seen: &Observed, now: Timestamp) -> Vec<Effect> {
    let mut wanted = effects(&advanced.run.state, seen, now);
    wanted.retain(|effect| advanced.transitions.is_empty() || *effect != Effect::DeleteResource);
    wanted
}

/// True if another look follows at once, because this one has changed what the next will find.
pub fn calls_for_another_look(
    advanced: &Advanced,
    effects: &[Effect],
    seen: &Observed,
    refused: Option<&Refusal>,
) -> bool {
    // Objects that are not watched do not call for a look when they change.
    let unwatched = [Effect::CreateScript, Effect::CreateService, Effect::KeepSummary];
    let created = unwatched.iter().any(|effect| effects.contains(effect)) && refused.is_none();
    // The next look makes an event of a refusal that is final.
    let is_final = matches!(refused, Some(Refusal::Foreign(_) | Refusal::Invalid(_)));
    let is_new = is_final && seen.refused.as_ref() != refused;
    created || is_new || advanced.calls_for_another_look()
}

/// What a run waits for beside its own deadlines.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// How often in a row the API server has refused an object; None if it has not.
    pub refusals: Option<u32>,
    /// In how many looks in a row something could not be read; None if all was read at this one. Nothing else calls for
    /// another look then.
    pub unreads: Option<u32>,
    /// Whether the status is still to be written.
    pub write: Write,
    /// How long until the Events of a Job without a pod are to be read.
    pub pod_question: Option<Duration>,
    /// How long until a Job counts as deleted that was created and that no cache shows.
    pub created: Option<Duration>,
}

/// Returns the pause before the next look; None: no look until something changes.
pub fn wait(run: &Run, seen: &Observed, now: Timestamp, uid: &str, waits: &Waits) -> Option<Duration> {
    let Waits {
        refusals,
        unreads,
        write,
        pod_question,
        created,
    } = waits;
    let (first, most) = REFUSED_RETRY;
    let retry = |times: u32| backoff(first, most, times, uid);
    let later = match write {
        Write::Later(pause) => Some(*pause),
        Write::No | Write::Now => None,
    };
    let deadline = wake_at(&run.state, seen).map(|at| until(now, at));
    [
        deadline,
        refusals.map(retry),
        unreads.map(retry),
        later,
        *pod_question,
        *created,
        measures(run).then_some(LIVE_INTERVAL),
    ]
    .into_iter()
    .flatten()
    .min()
}

/// True while the aggregator has intermediate results, which are read at intervals.
fn measures(run: &Run) -> bool {
    let is_merged = |plan: &Plan| plan.aggregation.is_some();
    run.state.runs_test() && run.plan.as_ref().is_some_and(is_merged)
}

/// The pause until shortly after a moment, so that it has passed for certain. If it has passed already, its
/// consequences are under way: most often runners are being deleted, and their Jobs call for a look when they are gone.
fn until(now: Timestamp, at: Timestamp) -> Duration {
    let rest = at.duration_since(now);
    if rest <= SignedDuration::ZERO {
        return OVERDUE_RETRY;
    }
    Duration::try_from(rest).unwrap_or_default() + Duration::from_millis(10)
}

#[cfg(test)]
mod tests {
    use super::{OVERDUE_RETRY, Waits, Write, calls_for_another_look, wait, wanted, write};
    use crate::api::Status;
    use crate::machine::{
        Advanced, Effect, Event, Observed, Record, Refusal, Retention, Run, Terms, advance, replay,
    };
    use jiff::{SignedDuration, Timestamp};
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const PAUSE: Duration = Duration::from_secs(3);

    fn seen() -> Observed {
        let terms = Terms {
            parallelism: 2,
            initialization_timeout: SignedDuration::from_mins(5),
            start_timeout: SignedDuration::from_mins(5),
            ..Terms::default()
        };
        Observed::unknown(1, Ok(terms))
    }

    /// A look with an event, and one without.
    fn looks() -> (Advanced, Advanced) {
        let first = advance(Run::default(), Vec::new(), &seen(), NOW);
        let second = advance(first.run.clone(), first.history.clone(), &seen(), NOW);
        assert_eq!((first.transitions.len(), second.transitions.len()), (1, 0));
        (first, second)
    }

    fn rejected() -> Advanced {
        let history = vec![Record {
            time: NOW,
            event: Event::SpecRejected {
                rerun: None,
                message: "no".to_owned(),
            },
        }];
        Advanced {
            run: replay(&history).unwrap(),
            history,
            transitions: Vec::new(),
            refused: None,
        }
    }

    #[test]
    fn events_and_edits_are_written_at_once_and_the_live_view_when_it_has_settled() {
        let (first, second) = looks();
        let status = |generation: i64, message: &str| Status {
            observed_generation: Some(generation),
            message: Some(message.to_owned()),
            ..Status::default()
        };
        let before = status(1, "Waiting");
        let held = |status: &Status, look: &Advanced| write(Some(&before), status, look, &seen(), || PAUSE);
        assert_eq!(held(&before, &second), Write::No);
        assert_eq!(held(&status(1, "other"), &second), Write::Later(PAUSE));
        assert_eq!(held(&status(2, "Waiting"), &second), Write::Now);
        assert_eq!(held(&status(1, "other"), &first), Write::Now);
        assert_eq!(write(None, &before, &second, &seen(), || PAUSE), Write::Now);
        let due = write(Some(&before), &status(1, "other"), &second, &seen(), || {
            Duration::ZERO
        });
        assert_eq!(due, Write::Now);
        let mut deleting = seen();
        deleting.deleting = true;
        assert_eq!(write(None, &before, &first, &deleting, || PAUSE), Write::No);
    }

    #[test]
    fn resource_is_deleted_at_the_look_after_the_one_that_records_its_end() {
        let mut seen = seen();
        seen.retention = Retention {
            ttl: Some(SignedDuration::ZERO),
            ..Retention::default()
        };
        let ended = rejected();
        assert_eq!(wanted(&ended, &seen, NOW), [Effect::DeleteResource]);
        let (first, _) = looks();
        let recorded = Advanced {
            transitions: first.transitions,
            ..ended
        };
        assert_eq!(wanted(&recorded, &seen, NOW), []);
    }

    #[test]
    fn another_look_follows_what_no_watch_shows_and_a_refusal_for_good() {
        let (first, second) = looks();
        let invalid = Refusal::Invalid("no".to_owned());
        let for_now = Refusal::ForNow("quota".to_owned());
        let looks = |effects: &[Effect], refused: Option<&Refusal>| {
            calls_for_another_look(&second, effects, &seen(), refused)
        };
        assert!(!looks(&[], None));
        assert!(!looks(&[Effect::CreateInitializer], None));
        assert!(looks(&[Effect::CreateScript], None));
        assert!(!looks(&[Effect::CreateScript], Some(&for_now)));
        assert!(looks(&[Effect::CreateInitializer], Some(&invalid)));
        let mut known = seen();
        known.refused = Some(invalid.clone());
        assert!(!calls_for_another_look(&second, &[], &known, Some(&invalid)));
        // The spec is accepted within the same state.
        assert!(!calls_for_another_look(&first, &[], &seen(), None));
    }

    #[test]
    fn run_comes_back_at_the_first_of_all_that_it_waits_for() {
        let (first, _) = looks();
        let none = Waits {
            refusals: None,
            unreads: None,
            write: Write::No,
            pod_question: None,
            created: None,
        };
        let at = |run: &Run, seconds: i64, waits: &Waits| {
            wait(
                run,
                &seen(),
                NOW + SignedDuration::from_secs(seconds),
                "uid",
                waits,
            )
        };
        let deadline = Duration::from_secs(300) + Duration::from_millis(10);
        assert_eq!(at(&first.run, 0, &none), Some(deadline));
        assert_eq!(at(&first.run, 400, &none), Some(OVERDUE_RETRY));
        assert_eq!(at(&rejected().run, 0, &none), None);
        let later = Waits {
            write: Write::Later(PAUSE),
            pod_question: Some(PAUSE * 2),
            created: Some(PAUSE * 3),
            ..none
        };
        assert_eq!(at(&first.run, 0, &later), Some(PAUSE));
        for waits in [
            Waits {
                refusals: Some(1),
                ..none
            },
            Waits {
                unreads: Some(1),
                ..none
            },
        ] {
            let retry = at(&first.run, 0, &waits).unwrap();
            assert!(retry >= Duration::from_secs(2) && retry < PAUSE, "{retry:?}");
        }
    }
}
