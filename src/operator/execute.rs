//! Performs effects. Each is idempotent: names are fixed, an object that exists is looked at before it is
//! taken for one of ours, and one that is not ours is never adopted, changed or deleted.

use super::controller::{Context, Error, bounded};
use crate::api::LoadTest;
use crate::build::{self, Checked, Owner, initializer_name, runner_name, starter_name};
use crate::machine::{Effect, Refusal};
use futures::{StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};

/// How many requests of one run are under way at once.
const CONCURRENCY: usize = 16;

/// Performs all effects, and says what the API server refused.
#[tracing::instrument(skip_all, fields(effects = effects.len()))]
pub async fn execute(
    context: &Context,
    resource: &LoadTest,
    attempt: u32,
    checked: Option<&Checked>,
    effects: Vec<Effect>,
) -> Result<Option<Refusal>, Error> {
    let owner = Owner {
        kind: resource.kind,
        name: resource.name_any(),
        namespace: resource.namespace().unwrap_or_default(),
        uid: resource.uid().unwrap_or_default(),
        generation: resource.metadata.generation.unwrap_or_default(),
        attempt,
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
    resource: &'a LoadTest,
    checked: Option<&'a Checked>,
    owner: &'a Owner,
}

impl Task<'_> {
    async fn perform(&self, effect: Effect) -> Result<Option<Refusal>, Error> {
        self.context.gate.check()?;
        let (spec, defaults, owner) = (&self.resource.spec, &self.context.defaults, self.owner);
        let stem = owner.stem();
        let job = match (effect, self.checked) {
            (Effect::DeleteInitializer, _) => {
                return self
                    .delete(&initializer_name(&stem), DeleteParams::background())
                    .await;
            }
            (Effect::DeleteRunner { runner }, _) => {
                return self
                    .delete(&runner_name(&stem, runner), DeleteParams::background())
                    .await;
            }
            // In the foreground: it is there until its pod has ended.
            (Effect::DeleteStarter, _) => {
                return self
                    .delete(&starter_name(&stem), DeleteParams::foreground())
                    .await;
            }
            (Effect::DeleteFormer(name), _) => return self.delete(&name, DeleteParams::background()).await,
            (Effect::DeleteResource, _) => return self.delete_resource().await,
            // Of a spec that can't be carried out nothing is made.
            (
                Effect::CreateScript
                | Effect::CreateInitializer
                | Effect::CreateRunner { .. }
                | Effect::CreateStarter(_)
                | Effect::CreateStopper(_),
                None,
            ) => return Ok(None),
            (Effect::CreateScript, Some(checked)) => {
                return match build::script(owner, checked) {
                    Some(script) => self.create(script).await,
                    None => Ok(None),
                };
            }
            (Effect::CreateInitializer, Some(checked)) => build::initializer(owner, spec, checked, defaults),
            (Effect::CreateRunner { runner, of }, Some(checked)) => {
                build::runner(owner, spec, checked, defaults, runner, of)
            }
            (Effect::CreateStarter(targets), Some(checked)) => {
                build::starter(owner, spec, checked, defaults, &targets)
            }
            (Effect::CreateStopper(targets), Some(_)) => build::stopper(owner, spec, defaults, &targets),
        };
        self.create(job).await
    }

    fn api<K: Child>(&self) -> Api<K> {
        Api::namespaced(self.context.client.clone(), &self.owner.namespace)
    }

    async fn create<K: Child>(&self, object: K) -> Result<Option<Refusal>, Error> {
        let name = object.name_any();
        let kind = K::kind(&());
        let error = match bounded(self.api().create(&PostParams::default(), &object)).await {
            Ok(_) => {
                self.context.memory.made(&self.owner.uid, &name);
                tracing::debug!(%kind, name, "created");
                return Ok(None);
            }
            Err(error) => error,
        };
        let Error::Kube(kube::Error::Api(status)) = &error else {
            return Err(error);
        };
        if status.is_already_exists() {
            return self.existing::<K>(&name).await;
        }
        let told = format!("{kind} {name} was refused: {}", status.message);
        match status.code {
            422 => Ok(Some(Refusal::Invalid(told))),
            400..=499 if status.code != 429 && status.code != 408 => Ok(Some(Refusal::ForNow(told))),
            _ => Err(error),
        }
    }

    /// The name is taken: by us, by a former run of the same name that is on its way out, or by a stranger.
    async fn existing<K: Child>(&self, name: &str) -> Result<Option<Refusal>, Error> {
        let kind = K::kind(&());
        let Some(object) = bounded(self.api::<K>().get_opt(name)).await? else {
            return Ok(None);
        };
        let owners = object.owner_references();
        if owners.iter().any(|owner| owner.uid == self.owner.uid) {
            self.context.memory.made(&self.owner.uid, name);
            return Ok(None);
        }
        let former = owners
            .iter()
            .any(|owner| owner.kind == self.owner.kind.as_str() && owner.name == self.owner.name);
        Ok(Some(if former {
            Refusal::ForNow(format!(
                "{kind} {name} of the former resource of this name is still being removed"
            ))
        } else {
            Refusal::Foreign(format!(
                "{kind} {name} exists and is not this run's: delete or rename it, or give this {} another name, \
                 and apply again",
                self.owner.kind.as_str()
            ))
        }))
    }

    async fn delete(&self, name: &str, how: DeleteParams) -> Result<Option<Refusal>, Error> {
        let key = ObjectRef::new(name).within(&self.owner.namespace);
        let Some(job) = self.context.world.jobs.get(&key) else {
            return Ok(None);
        };
        let ours = job
            .owner_references()
            .iter()
            .any(|owner| owner.uid == self.owner.uid);
        let leaving = job.metadata.deletion_timestamp.is_some();
        let Some(uid) = job.uid().filter(|_| ours && !leaving) else {
            return Ok(None);
        };
        let only = Preconditions {
            uid: Some(uid.clone()),
            resource_version: None,
        };
        let parameters = how.preconditions(only);
        match bounded(self.api::<Job>().delete(name, &parameters)).await {
            Ok(_) => {}
            Err(Error::Kube(kube::Error::Api(status))) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => return Err(error),
        }
        self.context.memory.deleted(&self.owner.uid, &uid);
        tracing::debug!(job = name, "deleted");
        Ok(None)
    }

    /// The resource and, in the background, all that it owns.
    async fn delete_resource(&self) -> Result<Option<Refusal>, Error> {
        let Owner {
            kind,
            name,
            namespace,
            uid,
            ..
        } = self.owner;
        let api: Api<LoadTest> = Api::namespaced_with(self.context.client.clone(), namespace, kind);
        // As it was read: someone may have asked for another run meanwhile.
        let only = Preconditions {
            uid: Some(uid.clone()),
            resource_version: self.resource.resource_version(),
        };
        let parameters = DeleteParams::background().preconditions(only);
        match bounded(api.delete(name, &parameters)).await {
            Ok(_) => {
                tracing::info!(run = format!("{namespace}/{name}"), "deleted, as its spec asks");
                Ok(None)
            }
            Err(Error::Kube(kube::Error::Api(status))) if status.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What a run owns.
trait Child:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + std::fmt::Debug
    + serde::Serialize
    + serde::de::DeserializeOwned
{
}

impl Child for Job {}
impl Child for ConfigMap {}
