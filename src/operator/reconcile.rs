//! The driver. It reads as the list of steps; those with `.await` need the cluster.

use super::backoff::backoff;
use super::caches::{Caches, Guarded};
use super::events::{publish_foreign, publish_refused_pod, publish_transition, publish_unreadable};
use super::execute::execute;
use super::leadership::Leadership;
use super::memory::{LIVE_INTERVAL, Memory};
use super::observe::{newest, observe};
use super::persist::{Unwritten, persist, unwritten};
use super::telemetry::{Metrics, Outcome};
use crate::api::{Kind, LoadTest, Progress, Status};
use crate::clock::Clock;
use crate::machine::{
    Effect, Record, Refusal, ReplayError, Run, Started, State, append, effects, replay, wake_at,
};
use crate::objects::{Defaults, validate};
use jiff::{SignedDuration, Timestamp};
use kube::{Client, Resource, ResourceExt};
use kube_runtime::controller::Action;
use kube_runtime::events::Recorder;
use kube_runtime::reflector::ObjectRef;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::Semaphore;

/// The longest that one request may take, watches excepted.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// How soon an object that was refused for now is tried again, and what could not be read is read again, at first
/// and at most.
const REFUSED_RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(15));

/// How soon a run is looked at again whose moment has passed.
const OVERDUE_RETRY: Duration = Duration::from_secs(1);

/// How soon a run whose reconcile failed is looked at again, at first and at most.
const FAILED_RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));

/// What can go wrong on the way; all of it is tried again.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// The API server took too long.
    #[error("the API server did not answer within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    /// The status of the resource is no run's.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// This process has not renewed its lease in time, and another may lead by now.
    #[error("this operator does not lead any more")]
    NotLeading,
    /// The resource can't be read, most likely since a newer operator wrote it.
    #[error("the resource can't be read: {0}")]
    Unreadable(String),
}

/// Waits for an answer, but not for ever.
pub(super) async fn bounded<T, E>(request: impl Future<Output = Result<T, E>>) -> Result<T, Error>
where
    Error: From<E>,
{
    tokio::time::timeout(REQUEST_TIMEOUT, request)
        .await
        .map_err(|_| Error::Timeout)?
        .map_err(Error::from)
}

/// What every step may use.
pub(super) struct Context {
    pub client: Client,
    pub caches: Caches,
    pub memory: Memory,
    pub defaults: Defaults,
    /// How many seconds the Jobs of a Finished run are kept; None: as long as its resource.
    pub keep_jobs_seconds: Option<u32>,
    pub clock: Clock,
    pub leadership: Leadership,
    pub metrics: Metrics,
    pub recorder: Recorder,
    /// The namespace that is watched, or all.
    pub scope: String,
    pub all_caches: Arc<[Caches]>,
    pub queued: Arc<Mutex<BTreeSet<String>>>,
    /// Who reads a large log.
    pub large_logs: Arc<Semaphore>,
}

/// One look at one run: observe, classify, step, persist, execute.
async fn reconcile_run(context: &Context, cached: &LoadTest) -> Result<Action, Error> {
    let mut resource = context.memory.newest(cached);
    let uid = resource.uid().unwrap_or_default();
    loop {
        if resource.status.as_ref().is_some_and(Status::is_foreign) {
            if !context.memory.is_known_foreign(&uid) {
                publish_foreign(context, &resource).await;
            }
            return Ok(Action::await_change());
        }
        let validated = validate(&resource.spec, &context.defaults).map_err(|error| error.to_string());
        let mut history = resource
            .status
            .as_ref()
            .map(|status| status.history.clone())
            .unwrap_or_default();
        let mut run = match replay(&history) {
            Ok(run) => run,
            Err(error) => {
                publish_unreadable(context, &resource.object_ref(&resource.kind), &error.to_string()).await;
                return Err(error.into());
            }
        };
        let now = context.clock.now();
        let seen = observe(context, &resource, &run, &validated, now).await;

        let mut steps = Vec::new();
        while let Some(event) = tracing::info_span!("classify").in_scope(|| run.next(&seen, now)) {
            let record = Record { time: now, event };
            let after = tracing::info_span!("step").in_scope(|| run.after(&record));
            let Some(after) = after else {
                let state = run.state.name().as_str();
                tracing::error!(
                    event = record.event.name(),
                    state,
                    "this can't happen: the event is refused"
                );
                break;
            };
            if after == run {
                break;
            }
            append(&mut history, record.clone());
            steps.push((std::mem::replace(&mut run, after.clone()), record, after));
            // Each state is written before the next one, for those who wait for it. And what was observed of a run
            // is not that of the next.
            if steps
                .last()
                .is_some_and(|(before, _, after)| is_elsewhere(before, after))
            {
                break;
            }
        }

        let argv = validated
            .as_ref()
            .map_or(&[][..], |validated| &validated.arguments);
        let progress = Progress::of(&run, &seen, argv).after(&run, resource.status.as_ref());
        let status = run.status(history.clone(), &progress);
        let before = resource.status.as_ref();
        let told = before == Some(&status);
        // An edit of the spec is answered at once: until then tools take the status for an old one.
        let urgent = before.is_none_or(|before| before.observed_generation != status.observed_generation);
        let pause = if told || urgent || !steps.is_empty() {
            Duration::ZERO
        } else {
            context.memory.progress_pause(&uid)
        };
        let later = !pause.is_zero();
        let persisted = !seen.deleting && !told && !later;
        if persisted {
            let written = persist(context, &resource, &run, history, &progress).await;
            if let Err(error) = &written {
                let look = Unwritten {
                    before: steps.first().map_or(&run, |(before, _, _)| before),
                    after: &run,
                    seen: &seen,
                    validated: validated.as_ref().ok(),
                    now,
                };
                unwritten(context, &resource, &look, error).await?;
            }
            resource = written?;
        }

        let mut effects = effects(&run.state, &seen, now);
        // Its end is told before a resource is deleted.
        effects.retain(|effect| steps.is_empty() || *effect != Effect::DeleteResource);
        // What was written was the newest. What was not may have been overtaken, and nothing is done on it.
        if !persisted && !effects.is_empty() {
            match newest(context, &resource).await? {
                Some(newest) if newest.resource_version() == resource.resource_version() => {}
                Some(newest) => {
                    resource = newest;
                    continue;
                }
                None => return Ok(Action::await_change()),
            }
        }
        // What is not watched has to be looked at again.
        let unwatched = [Effect::CreateScript, Effect::CreateService, Effect::KeepSummary];
        let unwatched_made = unwatched.iter().any(|effect| effects.contains(effect));
        let executed = execute(context, &resource, &run, &seen, validated.as_ref().ok(), effects).await;
        // What is written has happened, whatever becomes of its effects.
        for (before, record, after) in &steps {
            publish_transition(context, &resource, before, record, after).await;
        }
        let refused = executed?;
        if let Some(refusal) = &seen.pod_refused
            && !context.memory.is_told_refusal(&uid, refusal)
        {
            publish_refused_pod(context, &resource, refusal).await;
        }
        let refusals = context.memory.set_refused(&uid, refused.clone());
        if matches!(seen.refused, Some(Refusal::Failed(_))) {
            context.memory.succeeded(&uid);
            continue;
        }
        let told_refusal = matches!(refused, Some(Refusal::Foreign(_) | Refusal::Invalid(_)));
        // More may have happened in the state that has just been written.
        let new_state = steps
            .last()
            .is_some_and(|(before, _, after)| is_elsewhere(before, after));
        // The result is there when all runners have ended.
        let all_ended = !steps.is_empty() && run.state.awaits_result().is_some();
        let go_on = unwatched_made && refused.is_none() || new_state || all_ended;
        if told_refusal && seen.refused != refused || go_on {
            continue;
        }

        let deadline = wake_at(&run.state, &seen).map(|at| until(now, at));
        let (first, most) = REFUSED_RETRY;
        let retry = refused.map(|_| backoff(first, most, refusals, &uid));
        // Nothing else calls for another look when what was to be read could not be.
        let unread = context.memory.unreads(&uid);
        let again = unread.map(|unreads| backoff(first, most, unreads, &uid));
        let progress = later.then_some(pause);
        let wake = deadline
            .into_iter()
            .chain(retry)
            .chain(again)
            .chain(progress)
            .chain(context.memory.podless_pause(&uid))
            .chain(context.memory.made_pause(&uid))
            .chain(measures(&run.state).then_some(LIVE_INTERVAL))
            .min();
        return Ok(wake.map_or_else(Action::await_change, Action::requeue));
    }
}

#[tracing::instrument(name = "reconcile", skip_all, fields(k6.kind = kind.as_str(), k6.namespace = %namespace(&*guarded), k6.name = %guarded.name_any()))]
pub(super) async fn reconcile(
    kind: Kind,
    guarded: Arc<Guarded>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    context.dequeue(&ObjectRef::from_obj_with(&*guarded, kind));
    let timer = context.metrics.reconcile_started();
    let result = match &guarded.0 {
        Ok(test) => reconcile_run(&context, test).await,
        Err(invalid) => {
            let reference = guarded.object_ref(&kind);
            publish_unreadable(&context, &reference, &invalid.error).await;
            Err(Error::Unreadable(invalid.error.clone()))
        }
    };
    match &result {
        Ok(action) if *action == Action::await_change() => timer.finish(Outcome::Success),
        Ok(_) => timer.finish(Outcome::RequeueAfter),
        Err(_) => timer.finish(Outcome::Error),
    }
    if result.is_ok() {
        context.memory.succeeded(&guarded.uid().unwrap_or_default());
    }
    result
}

/// Waits longer after each failure in a row.
pub(super) fn after_error(guarded: Arc<Guarded>, error: &Error, context: Arc<Context>) -> Action {
    let uid = guarded.uid().unwrap_or_default();
    // Changed or deleted by someone meanwhile.
    let overtaken = matches!(error, Error::Kube(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found());
    let failures = context.memory.failed(&uid, error.to_string());
    let run = format!("{}/{}", namespace(&*guarded), guarded.name_any());
    if overtaken && failures < 3 {
        tracing::debug!(run, "the resource has changed or gone meanwhile; looking again");
    } else {
        tracing::warn!(run, %error, failures, "trying again");
    }
    let (first, most) = FAILED_RETRY;
    Action::requeue(backoff(first, most, failures, &uid))
}

fn namespace<K: Resource>(object: &K) -> String {
    object.namespace().unwrap_or_default()
}

/// Whether a run has come to another state, or to its next attempt.
fn is_elsewhere(before: &Run, after: &Run) -> bool {
    before.attempt != after.attempt || before.state.name() != after.state.name()
}

/// Whether something is measured that is told now and then.
fn measures(state: &State) -> bool {
    let State::Started(Started { plan, ended, .. }) = state else {
        return false;
    };
    plan.aggregation.is_some() && ended.is_none()
}

/// A little later than the moment, so that it has passed for certain. If it has passed already, what it brought is
/// under way: runners are being deleted, most often, and their Jobs tell of it when they are gone.
fn until(now: Timestamp, at: Timestamp) -> Duration {
    let rest = at.duration_since(now);
    if rest <= SignedDuration::ZERO {
        return OVERDUE_RETRY;
    }
    Duration::try_from(rest).unwrap_or_default() + Duration::from_millis(10)
}
