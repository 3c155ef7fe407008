//! Performs effects. Each is idempotent: names are fixed, an object that exists is looked at before it is
//! taken for one of ours, and one that is not ours is never adopted, changed or deleted.

use super::controller::{Context, Error, bounded};
use crate::api::K6;
use crate::build::{self, Checked, Owner, initializer_name, runner_name};
use crate::machine::{Effect, Refusal};
use futures::{StreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};

/// How many requests of one run are under way at once.
const CONCURRENCY: usize = 16;

/// Performs all effects, and says what the API server refused.
#[tracing::instrument(skip_all, fields(effects = effects.len()))]
pub async fn execute(
    context: &Context,
    resource: &K6,
    checked: &Checked,
    effects: Vec<Effect>,
) -> Result<Option<Refusal>, Error> {
    let owner = Owner {
        name: resource.name_any(),
        namespace: resource.namespace().unwrap_or_default(),
        uid: resource.uid().unwrap_or_default(),
    };
    let task = Task {
        context,
        resource,
        checked,
        owner: &owner,
    };
    let results: Vec<Result<Option<Refusal>, Error>> = stream::iter(effects)
        .map(|effect| task.perform(effect))
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    let mut refused = None;
    for result in results {
        refused = refused.or(result?);
    }
    Ok(refused)
}

struct Task<'a> {
    context: &'a Context,
    resource: &'a K6,
    checked: &'a Checked,
    owner: &'a Owner,
}

impl Task<'_> {
    async fn perform(&self, effect: Effect) -> Result<Option<Refusal>, Error> {
        let (spec, defaults, owner) = (&self.resource.spec, &self.context.defaults, self.owner);
        match effect {
            Effect::CreateInitializer => {
                self.create(build::initializer(owner, spec, self.checked, defaults))
                    .await
            }
            Effect::CreateRunner { runner, of } => {
                self.create(build::runner(owner, spec, self.checked, defaults, runner, of))
                    .await
            }
            Effect::CreateStarter(targets) => {
                self.create(build::starter(owner, spec, self.checked, defaults, &targets))
                    .await
            }
            Effect::CreateStopper(targets) => {
                self.create(build::stopper(owner, spec, defaults, &targets)).await
            }
            Effect::DeleteInitializer => self.delete(&initializer_name(&owner.name)).await,
            Effect::DeleteRunner { runner } => self.delete(&runner_name(&owner.name, runner)).await,
        }
    }

    fn api(&self) -> Api<Job> {
        Api::namespaced(self.context.client.clone(), &self.owner.namespace)
    }

    async fn create(&self, job: Job) -> Result<Option<Refusal>, Error> {
        let name = job.name_any();
        let error = match bounded(self.api().create(&PostParams::default(), &job)).await {
            Ok(_) => {
                self.context.memory.made(&self.owner.uid, &name);
                tracing::debug!(job = name, "created");
                return Ok(None);
            }
            Err(error) => error,
        };
        let Error::Kube(kube::Error::Api(status)) = &error else {
            return Err(error);
        };
        if status.is_already_exists() {
            return self.existing(&name).await;
        }
        let told = format!("Job {name} was refused: {}", status.message);
        match status.code {
            422 => Ok(Some(Refusal::Invalid(told))),
            400..=499 if status.code != 429 && status.code != 408 => Ok(Some(Refusal::ForNow(told))),
            _ => Err(error),
        }
    }

    /// The name is taken: by us, by a former run of the same name that is on its way out, or by a stranger.
    async fn existing(&self, name: &str) -> Result<Option<Refusal>, Error> {
        let Some(job) = bounded(self.api().get_opt(name)).await? else {
            return Ok(None);
        };
        let owners = job.owner_references();
        if owners.iter().any(|owner| owner.uid == self.owner.uid) {
            self.context.memory.made(&self.owner.uid, name);
            return Ok(None);
        }
        let former = owners
            .iter()
            .any(|owner| owner.kind == "K6" && owner.name == self.owner.name);
        Ok(Some(if former {
            Refusal::ForNow(format!(
                "Job {name} of the former run of this name is still being removed"
            ))
        } else {
            Refusal::Foreign(format!(
                "Job {name} exists and is not this run's: delete or rename it, or give the K6 resource another \
                 name, and apply again"
            ))
        }))
    }

    async fn delete(&self, name: &str) -> Result<Option<Refusal>, Error> {
        let key = ObjectRef::new(name).within(&self.owner.namespace);
        let Some(job) = self.context.world.jobs.get(&key) else {
            return Ok(None);
        };
        let ours = job
            .owner_references()
            .iter()
            .any(|owner| owner.uid == self.owner.uid);
        let Some(uid) = job.uid().filter(|_| ours) else {
            return Ok(None);
        };
        let only = Preconditions {
            uid: Some(uid.clone()),
            resource_version: None,
        };
        match bounded(
            self.api()
                .delete(name, &DeleteParams::background().preconditions(only)),
        )
        .await
        {
            Ok(_) => {}
            Err(Error::Kube(kube::Error::Api(status))) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => return Err(error),
        }
        self.context.memory.deleted(&self.owner.uid, &uid);
        tracing::debug!(job = name, "deleted");
        Ok(None)
    }
}
