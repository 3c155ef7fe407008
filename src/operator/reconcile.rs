//! The driver. `look` reads as the list of steps; those marked (API) need the API server.

use super::backoff::backoff;
use super::caches::CachedTest;
use super::context::Context;
use super::decide::{Waits, Write, calls_for_another_look, wait, wanted, write};
use super::error::Error;
use super::events::{publish_foreign, publish_refused_pod, publish_transition, publish_unreadable};
use super::execute::{Executed, execute};
use super::memory::{PodQuestions, Retries, StatusThrottle};
use super::observe::{newest, observe};
use super::persist::persist;
use super::telemetry::Outcome;
use crate::api::{Kind, LoadTest, Progress, Status};
use crate::machine::{Advanced, Observed, Record, Refusal, Run, State, advance, replay};
use crate::objects::{ValidatedSpec, validate};
use kube::{Resource, ResourceExt};
use kube_runtime::controller::Action;
use kube_runtime::reflector::ObjectRef;
use std::sync::Arc;
use std::time::Duration;

/// Pauses before a failed reconcile is repeated: the first and the longest.
const FAILED_RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));

/// What follows a look.
enum Next {
    /// Look again at once.
    Look,
    /// Look again after a pause.
    Wait(Action),
}

/// Looks at a run until there is nothing left to do.
async fn reconcile_run(context: &Context, cached: &LoadTest) -> Result<Action, Error> {
    let uid = cached.uid().unwrap_or_default();
    let memory = &context.memory.expectations;
    let mut resource = memory.with(&uid, |known| known.newest(cached));
    loop {
        match look(context, &mut resource, &uid).await? {
            Next::Look => {}
            Next::Wait(action) => return Ok(action),
        }
    }
}

/// Looks at a run once. Afterwards `resource` is the newest version that is known.
async fn look(context: &Context, resource: &mut LoadTest, uid: &str) -> Result<Next, Error> {
    if resource.status.as_ref().is_some_and(Status::is_foreign) {
        publish_foreign(context, resource).await;
        return Ok(Next::Wait(Action::await_change()));
    }
    let (run, history) = recorded(context, resource).await?;
    if matches!(run.state, State::Finished(_)) {
        context.memory.ended(uid);
    }
    let validated = validated(context, resource);
    let now = context.clock.now();

    // observe (API)
    let seen = observe(context, resource, &run, &validated, now).await;
    // classify and step
    let advanced = advance(run, history, &seen, now);
    tell_refused(&advanced);
    let (run, validated) = (&advanced.run, validated.as_ref().ok());
    // persist (API)
    let status = status(resource, &advanced, &seen, validated);
    let written = write(resource.status.as_ref(), &status, &advanced, &seen, || {
        context.memory.throttle.with(uid, StatusThrottle::pause)
    });
    if written == Write::Now {
        *resource = persist(context, resource, status, (&advanced, &seen, validated, now)).await?;
    }
    // A status that was written was the newest, and so is what the API server has just answered with. Otherwise the
    // resource may have changed: then nothing is done (API).
    let effects = wanted(&advanced, &seen, now);
    let expectations = &context.memory.expectations;
    let is_newest = || expectations.with(uid, |known| known.is_newest(resource));
    if written != Write::Now && !effects.is_empty() && !is_newest() {
        match newest(context, resource).await? {
            Some(newest) if newest.resource_version() == resource.resource_version() => {}
            Some(newest) => {
                *resource = newest;
                return Ok(Next::Look);
            }
            None => return Ok(Next::Wait(Action::await_change())),
        }
    }
    // execute (API)
    let executed = execute(context, resource, run, &seen, validated, &effects).await;
    // publish (API): events that are written have happened, even if an effect failed.
    for transition in &advanced.transitions {
        publish_transition(context, resource, transition).await;
    }
    let Executed { refused, failed } = executed;
    let retries = &context.memory.retries;
    let refusals = retries.with(uid, |retries| {
        retries.set_refused(refused.clone(), failed.is_some())
    });
    if let Some(error) = failed {
        return Err(error);
    }
    publish_pod_refusal(context, resource, uid, &seen).await;
    // A failure is over, which the status shows at once.
    if matches!(seen.refused, Some(Refusal::Failed(_))) {
        retries.with(uid, Retries::succeeded);
        return Ok(Next::Look);
    }
    if calls_for_another_look(&advanced, &effects, &seen, refused.as_ref()) {
        return Ok(Next::Look);
    }
    // come back
    let waits = Waits {
        refusals: refused.map(|_| refusals),
        unreads: retries.with(uid, Retries::end_look),
        write: written,
        pod_question: context.memory.pod_questions.with(uid, |asked| asked.pause()),
        created: context.memory.expectations.with(uid, |known| known.pause()),
    };
    let pause = wait(run, &seen, now, uid, &waits);
    Ok(Next::Wait(
        pause.map_or_else(Action::await_change, Action::requeue),
    ))
}

/// The run that the status records, with its history.
async fn recorded(context: &Context, resource: &LoadTest) -> Result<(Run, Vec<Record>), Error> {
    let status = resource.status.as_ref();
    let history = status.map(|status| status.history.clone()).unwrap_or_default();
    match replay(&history) {
        Ok(run) => Ok((run, history)),
        Err(error) => {
            publish_unreadable(context, &resource.object_ref(&resource.kind), &error.to_string()).await;
            Err(error.into())
        }
    }
}

/// The spec, completed by the administrator's defaults, or what is wrong with it.
fn validated(context: &Context, resource: &LoadTest) -> Result<ValidatedSpec, String> {
    validate(&resource.spec, &context.defaults).map_err(|error| error.to_string())
}

/// The status that this look leads to.
fn status(
    resource: &LoadTest,
    advanced: &Advanced,
    seen: &Observed,
    validated: Option<&ValidatedSpec>,
) -> Status {
    let Advanced { run, history, .. } = advanced;
    let argv = validated.map_or(&[][..], |validated| &validated.arguments);
    let progress = Progress::of(run, seen, argv).after(run, resource.status.as_ref());
    run.status(history.clone(), &progress)
}

fn tell_refused(advanced: &Advanced) {
    if let Some(event) = &advanced.refused {
        let state = advanced.run.state.name().as_str();
        tracing::error!(
            event = event.name(),
            state,
            "this can't happen: the event is refused"
        );
    }
}

/// Publishes, once, that Kubernetes refuses a pod of this run.
async fn publish_pod_refusal(context: &Context, resource: &LoadTest, uid: &str, seen: &Observed) {
    let questions = &context.memory.pod_questions;
    let is_published = |refusal: &_| {
        questions.with(uid, |questions: &mut PodQuestions| {
            questions.is_published(refusal)
        })
    };
    if let Some(refusal) = &seen.pod_refused
        && !is_published(refusal)
    {
        publish_refused_pod(context, resource, refusal).await;
    }
}

#[tracing::instrument(name = "reconcile", skip_all, fields(k6.kind = kind.as_str(), k6.namespace = %namespace(&*cached), k6.name = %cached.name_any()))]
pub(super) async fn reconcile(
    kind: Kind,
    cached: Arc<CachedTest>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    context.dequeue(&ObjectRef::from_obj_with(&*cached, kind));
    let timer = context.metrics.reconcile_started();
    let result = match cached.test() {
        Ok(test) => reconcile_run(&context, &test).await,
        Err(error) => {
            let reference = cached.object_ref(&kind);
            publish_unreadable(&context, &reference, &error).await;
            Err(Error::Unreadable(error))
        }
    };
    match &result {
        Ok(action) if *action == Action::await_change() => timer.finish(Outcome::Success),
        Ok(_) => timer.finish(Outcome::RequeueAfter),
        Err(_) => timer.finish(Outcome::Error),
    }
    if result.is_ok() {
        let uid = cached.uid().unwrap_or_default();
        context.memory.retries.with(&uid, Retries::succeeded);
    }
    result
}

/// Waits longer after each failure in a row.
pub(super) fn after_error(cached: Arc<CachedTest>, error: &Error, context: Arc<Context>) -> Action {
    let uid = cached.uid().unwrap_or_default();
    // Somebody has changed or deleted the object since.
    let overtaken = matches!(error, Error::Kube(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found());
    let retries = &context.memory.retries;
    let failures = retries.with(&uid, |retries| retries.failed(error.to_string()));
    let run = format!("{}/{}", namespace(&*cached), cached.name_any());
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
