//! Gathers one immutable snapshot of a run. What is watched comes from the caches. The rest is requested, only in the
//! states that need it.

mod aggregation;
mod children;
mod hints;
mod jobs;
mod script;

use super::caches::slim_test;
use super::context::Context;
use super::error::Error;
use super::memory::{Expectations, Retries};
use crate::api::{LoadTest, Spec};
use crate::machine::{Fact, Initializing, Observed, Retention, Run, Runner, State, are_as_ordered, overdue};
use crate::objects::{ValidatedSpec, starter_name, stem, stopper_name};
use children::Children;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Observes everything that matters to this run now.
#[tracing::instrument(skip_all)]
pub async fn observe(
    context: &Context,
    resource: &LoadTest,
    run: &Run,
    validated: &Result<ValidatedSpec, String>,
    now: Timestamp,
) -> Observed {
    let mut seen = of_spec(resource, validated);
    let _turn = match &run.state {
        State::Finished(_) => context.ended_looks.acquire().await.ok(),
        State::Initializing(_)
        | State::Created(_)
        | State::Starting(_)
        | State::Started(_)
        | State::Stopping(_) => None,
    };
    let observer = match Observer::new(context, resource, run, now) {
        Ok(observer) => observer,
        Err(error) => {
            tracing::error!(%error, "nothing is known of the run");
            return seen;
        }
    };
    seen.former = observer.former();
    seen.left = observer.left();
    seen.starter = observer.starter(&starter_name(&observer.stem)).await;
    seen.runners = observer.runners_for_certain(&seen).await;
    seen.stopper = observer.program(&stopper_name(&observer.stem)).await;
    seen.refused = context
        .memory
        .retries
        .with(&observer.uid, |retries| retries.refused());
    seen.initializer = observer.initializer().await;
    observer.aggregation(&mut seen).await;
    let needs_script = matches!(
        &run.state,
        State::Initializing(Initializing::Accepted(accepted)) if !accepted.terms.suspended
    );
    if matches!(run.state, State::Initializing(_)) && run.plan.is_none() {
        seen.program = context.image_volumes.source().await;
    }
    if let (true, Fact::Absent, Ok(validated)) = (needs_script, &seen.initializer, validated) {
        seen.script = observer.script(validated).await;
    }
    seen.pod_refused = observer.pod_refused(&seen).await;
    if overdue(&run.state, now) && seen.pod_refused.is_none() {
        seen.hint = observer.hint(&seen).await;
    }
    seen
}

/// The part of the snapshot that comes from the resource itself.
fn of_spec(resource: &LoadTest, validated: &Result<ValidatedSpec, String>) -> Observed {
    let terms = validated
        .as_ref()
        .map(|validated| validated.terms.clone())
        .map_err(Clone::clone);
    let mut seen = Observed::unknown(resource.metadata.generation.unwrap_or_default(), terms);
    seen.deleting = resource.metadata.deletion_timestamp.is_some();
    let Spec {
        rerun,
        stop,
        cleanup,
        ttl_seconds_after_finished,
        ..
    } = &resource.spec;
    seen.rerun.clone_from(rerun);
    seen.stop = *stop;
    seen.retention = Retention {
        cleanup: *cleanup,
        ttl: ttl_seconds_after_finished.map(SignedDuration::from_secs),
    };
    seen
}

/// The resource as the API server itself has it; None if it was deleted.
pub async fn newest(context: &Context, resource: &LoadTest) -> Result<Option<LoadTest>, Error> {
    let namespace = resource.namespace().unwrap_or_default();
    let api: Api<LoadTest> = Api::namespaced_with(context.client.clone(), &namespace, &resource.kind);
    let sent = Instant::now();
    let found = api.get_opt(&resource.name_any()).await?;
    let same = found.filter(|found| found.uid() == resource.uid());
    Ok(same.map(|mut found| {
        slim_test(&mut found.metadata);
        let uid = found.uid().unwrap_or_default();
        let memory = &context.memory.expectations;
        memory.with(&uid, |known| known.read(found.clone(), sent));
        found
    }))
}

/// Observes one run, at one moment.
struct Observer<'a> {
    context: &'a Context,
    resource: &'a LoadTest,
    run: &'a Run,
    /// The moment of this look.
    now: Timestamp,
    /// metadata.uid of the resource.
    uid: String,
    namespace: String,
    /// The beginning of the names of all objects of the run.
    stem: String,
    children: Children,
}

impl<'a> Observer<'a> {
    /// Observes the Jobs and pods that the caches show.
    fn new(
        context: &'a Context,
        resource: &'a LoadTest,
        run: &'a Run,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let uid = resource.uid().unwrap_or_default();
        let is_on = !matches!(run.state, State::Finished(_));
        let children = Children::cached(context, &uid, run.attempt, is_on)?;
        Ok(Self::with(context, resource, run, now, children))
    }

    fn with(
        context: &'a Context,
        resource: &'a LoadTest,
        run: &'a Run,
        now: Timestamp,
        children: Children,
    ) -> Self {
        Self {
            context,
            resource,
            run,
            now,
            uid: resource.uid().unwrap_or_default(),
            namespace: resource.namespace().unwrap_or_default(),
            stem: stem(&resource.name_any(), run.attempt),
            children,
        }
    }

    /// The same observer, with the Jobs and pods that the API server lists.
    async fn listed(&self) -> Result<Self, Error> {
        let Self {
            context,
            resource,
            run,
            now,
            ..
        } = *self;
        let children = Children::listed(context, resource, &self.uid, run.attempt).await?;
        Ok(Self::with(context, resource, run, now, children))
    }
}

impl Observer<'_> {
    /// The runners. If they are not those that the order names, the run ends. Then the API server is asked: the caches
    /// may be behind an order of another process.
    async fn runners_for_certain(&self, seen: &Observed) -> Fact<BTreeMap<u32, Runner>> {
        let runners = self.runners().await;
        match (&self.run.state, &seen.starter) {
            (State::Starting(state), Fact::Absent) if !are_as_ordered(state, &runners) => {
                match self.listed().await {
                    Ok(listed) => Fact::Known(listed.runners().await),
                    Err(error) => {
                        tracing::warn!(%error, "whether the runners are those of the order could not be read");
                        self.read_again();
                        Fact::Unknown
                    }
                }
            }
            _ => Fact::Known(runners),
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), &self.namespace)
    }

    fn owns<K: Resource>(&self, object: &K) -> bool {
        object
            .owner_references()
            .iter()
            .any(|owner| owner.uid == self.uid)
    }

    fn expectations<T>(&self, action: impl FnOnce(&mut Expectations) -> T) -> T {
        self.context.memory.expectations.with(&self.uid, action)
    }

    /// Calls for another look, which nothing else does when a read has failed.
    fn read_again(&self) {
        self.context.memory.retries.with(&self.uid, Retries::unread);
    }

    /// Reports that something could not be read.
    fn unread<T>(&self, error: &kube::Error, name: &str, what: &str) -> Fact<T> {
        tracing::warn!(%error, name, "{what} could not be read");
        self.read_again();
        Fact::Unknown
    }
}
