//! Reasons why something is still waited for: refused pods, and Kubernetes' own Events.

use super::Observer;
use crate::machine::{Fact, Observed, Part, PodRefusal, Runner, State};
use crate::objects::{aggregator_name, initializer_name, runner_name, starter_name};
use crate::operator::memory::{PodQuestions, Why};
use crate::operator::pods;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

/// The maximum number of Events that are read of one Job. Kubernetes keeps about ten, and combines those that follow.
const EVENTS_LIMIT: u32 = 50;

impl Observer<'_> {
    /// The reason why a Job that is waited for has no pod, if Kubernetes gives one. Only the Events of the Job have it,
    /// so they are read of one Job at a time, and only if it has been without a pod for seconds.
    pub(super) async fn pod_refused(&self, seen: &Observed) -> Option<PodRefusal> {
        let questions = &self.context.memory.pod_questions;
        let Some((part, job)) = self.without_pod(seen) else {
            questions.with(&self.uid, PodQuestions::has_pods);
            return None;
        };
        let job_uid = job.uid().unwrap_or_default();
        let before = match questions.with(&self.uid, |asked| asked.podless(&job_uid)) {
            Why::Known(found) => return found,
            Why::Ask(before) => before,
        };
        let api: Api<Event> = self.api();
        let failed = format!("involvedObject.uid={job_uid},reason=FailedCreate");
        let parameters = ListParams::default().fields(&failed).limit(EVENTS_LIMIT);
        let found = match api.list(&parameters).await {
            Ok(events) => pods::pod_refusal(part, &events.items),
            Err(error) => {
                tracing::warn!(%error, job = job.name_any(), "why the Job has no pod could not be read");
                before.clone()
            }
        };
        // A refusal that ends the run is confirmed: the pod may have been created since, and not be in the cache yet.
        let found = match found {
            Some(refusal) if refusal.is_final() => match self.listed_pod(job).await {
                Fact::Absent => Some(refusal),
                Fact::Known(_) => None,
                Fact::Unknown => before.filter(|before| !before.is_final()),
            },
            Some(_) | None => found,
        };
        questions.with(&self.uid, |asked| asked.answered(found.clone()));
        found
    }

    /// The first Job without a pod among those that this state waits for.
    fn without_pod(&self, seen: &Observed) -> Option<(Part, &Job)> {
        let wanted: Vec<Part> = match &self.run.state {
            state if state.awaits_result().is_some() => vec![Part::Aggregator],
            State::Initializing(_) => vec![Part::Initializer],
            State::Created(_) => {
                let podless = |(_, runner): &(&u32, &Runner)| runner.pod.is_none() && runner.end.is_none();
                let first = seen.runners.known().into_iter().flatten().find(podless);
                let runner = first.map(|(i, _)| Part::Runner(*i));
                [Part::Aggregator].into_iter().chain(runner).collect()
            }
            State::Starting(_) => vec![Part::Starter],
            State::Started(_) => vec![Part::Aggregator],
            State::Stopping(_) => vec![Part::Stopper],
            State::Finished(_) => Vec::new(),
        };
        wanted.into_iter().find_map(|part| {
            let job = self.children.jobs.get(&part.name(&self.stem))?;
            let goes_on = pods::job_end(job).is_none();
            let leaving = job.metadata.deletion_timestamp.is_some()
                || self.expectations(|known| known.is_deleted(&job.uid().unwrap_or_default()));
            let podless = self.children.pod_of(job).is_none() && goes_on && !leaving;
            podless.then_some((part, &**job))
        })
    }

    /// What Kubernetes' own Events say about the object that is waited for.
    pub(super) async fn hint(&self, seen: &Observed) -> Option<String> {
        let stem = &self.stem;
        let job = match &self.run.state {
            state if state.awaits_result().is_some() => aggregator_name(stem),
            State::Initializing(_) => initializer_name(stem),
            State::Created(state) => {
                let runners = self.runners().await;
                if matches!(&seen.aggregator, Fact::Known(aggregator) if !aggregator.is_ready()) {
                    return self.hint_of(aggregator_name(stem)).await;
                }
                let unready = |i: &u32| !runners.get(i).is_some_and(Runner::is_ready);
                runner_name(stem, (1..=state.plan.parallelism).find(unready)?)
            }
            State::Starting(_) => starter_name(stem),
            State::Started(_) | State::Stopping(_) | State::Finished(_) => return None,
        };
        self.hint_of(job).await
    }

    async fn hint_of(&self, job: String) -> Option<String> {
        let job = self.children.jobs.get(&job)?;
        let metadata = match self.children.pod_of(job) {
            Some(pod) => &pod.metadata,
            None => &job.metadata,
        };
        // By UID: Events of a former object of this name may still exist.
        let (object, object_uid) = (metadata.name.clone()?, metadata.uid.as_deref()?);
        let api: Api<Event> = self.api();
        let parameters =
            ListParams::default().fields(&format!("involvedObject.uid={object_uid},type=Warning"));
        let events = api.list(&parameters).await.ok()?.items;
        let last = events.into_iter().max_by_key(|event| {
            // The kubelet reports the cause first, and then `Error: ErrImagePull` and the like.
            let vague = event
                .message
                .as_deref()
                .is_none_or(|text| text.starts_with("Error: "));
            (!vague, event.metadata.creation_timestamp.clone())
        })?;
        let reason = last.reason.unwrap_or_default();
        Some(format!(
            "{object}: {reason}: {}",
            last.message.unwrap_or_default()
        ))
    }
}
