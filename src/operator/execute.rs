//! Performs effects. Each is idempotent: names are fixed, an object that exists is checked for its owner, and a foreign
//! one is never adopted, changed or deleted.

use super::caches::UnpackedOf;
use super::context::Context;
use super::error::Error;
use super::events::publish_left_out;
use super::memory::Expectations;
use super::{pods, run_info};
use crate::aggregate::documents::Documents;
use crate::api::LoadTest;
use crate::machine::{Effect, Fact, Observed, Refusal, Run};
use crate::objects::{
    self, Owner, ValidatedRun, ValidatedSpec, aggregator_name, initializer_name, runner_name, starter_name,
};
use crate::protocol::outcome::Outcome;
use crate::protocol::tokens::Tokens;
use futures::{StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use kube::api::{DeleteParams, LogParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt};

/// The number of requests of one run that may be under way at once.
const CONCURRENCY: usize = 16;

/// How much of the end of an aggregator's log is read for its documents, in lines and in bytes. It prints less than 2
/// MB, in lines of 4 KiB.
const LOG_LINES: i64 = 700;
const LOG_LIMIT: i64 = 4 * 1024 * 1024;

/// The outcome of the effects of a look.
#[derive(Debug, Default)]
pub struct Executed {
    /// What the API server refused.
    pub refused: Option<Refusal>,
    /// What failed, and will be retried.
    pub failed: Option<Error>,
}

/// Performs all effects. If one fails, the others are performed nevertheless.
#[tracing::instrument(skip_all, fields(effects = effects.len()))]
pub async fn execute(
    context: &Context,
    resource: &LoadTest,
    run: &Run,
    seen: &Observed,
    validated: Option<&ValidatedSpec>,
    effects: &[Effect],
) -> Executed {
    let owner = Owner {
        kind: resource.kind,
        name: resource.name_any(),
        namespace: resource.namespace().unwrap_or_default(),
        uid: resource.uid().unwrap_or_default(),
        generation: resource.metadata.generation.unwrap_or_default(),
        attempt: run.attempt,
    };
    let validated = validated.filter(|_| !effects.is_empty());
    let validated = validated.map(|spec| ValidatedRun {
        owner: owner.clone(),
        spec: spec.clone(),
        plan: run.plan.clone(),
    });
    let task = Task {
        context,
        resource,
        run,
        seen,
        validated: validated.as_ref(),
        owner: &owner,
    };
    // Before the runners, whose pods refer to it: a runner that is created is not looked at again.
    let segments = task.create_sequence(effects).await;
    let is_ready = matches!(segments, Ok(None));
    let possible = effects.iter().cloned();
    let possible: Vec<Effect> = possible
        .filter(|effect| is_ready || number_of_runners(effect).is_none())
        .collect();
    let results: Vec<Result<Option<Refusal>, Error>> = stream::iter(possible)
        .map(|effect| task.perform(effect))
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    let mut executed = Executed::default();
    for result in results.into_iter().chain([segments]) {
        match result {
            Ok(refused) => executed.refused = executed.refused.or(refused),
            Err(error) => executed.failed = executed.failed.or(Some(error)),
        }
    }
    executed
}

/// The number of all runners, if this effect creates one of them.
fn number_of_runners(effect: &Effect) -> Option<u32> {
    if let Effect::CreateRunner { runner: _, of } = effect {
        Some(*of)
    } else {
        None
    }
}

struct Task<'a> {
    context: &'a Context,
    resource: &'a LoadTest,
    run: &'a Run,
    seen: &'a Observed,
    validated: Option<&'a ValidatedRun>,
    owner: &'a Owner,
}

impl Task<'_> {
    async fn perform(&self, effect: Effect) -> Result<Option<Refusal>, Error> {
        self.context.leadership.check()?;
        let stem = self.owner.stem();
        let background = DeleteParams::background();
        match effect {
            Effect::DeleteInitializer => self.delete(&initializer_name(&stem), background).await,
            Effect::DeleteRunner { runner } => self.delete(&runner_name(&stem, runner), background).await,
            // In the foreground: the Job exists until its pod has ended.
            Effect::DeleteStarter => {
                self.delete(&starter_name(&stem), DeleteParams::foreground())
                    .await
            }
            Effect::DeleteAggregator => self.delete(&aggregator_name(&stem), background).await,
            Effect::DeleteFormer(name) | Effect::DeleteLeft(name) => self.delete(&name, background).await,
            Effect::DeleteResource => self.delete_resource().await,
            Effect::CreateService => self.create_service(&aggregator_name(&stem)).await,
            Effect::KeepSummary => self.keep_summary(&aggregator_name(&stem)).await,
            Effect::CreateScript
            | Effect::CreateInitializer
            | Effect::CreateAggregator { .. }
            | Effect::CreateRunner { .. }
            | Effect::CreateStarter(_)
            | Effect::CreateStopper(_) => match self.validated {
                Some(validated) => self.create_of_spec(effect, validated).await,
                // Nothing is created for an invalid spec.
                None => Ok(None),
            },
        }
    }

    /// Creates the ConfigMap with the segments of all runners, if one of these effects creates a runner whose pod refers
    /// to it.
    async fn create_sequence(&self, effects: &[Effect]) -> Result<Option<Refusal>, Error> {
        let runners = effects.iter().find_map(number_of_runners);
        match runners.and_then(|of| objects::sequence(self.owner, of)) {
            Some(sequence) => {
                self.context.leadership.check()?;
                self.create(sequence).await
            }
            None => Ok(None),
        }
    }

    /// Creates objects that the spec describes.
    async fn create_of_spec(
        &self,
        effect: Effect,
        validated: &ValidatedRun,
    ) -> Result<Option<Refusal>, Error> {
        let job = match effect {
            Effect::CreateScript => match objects::script(validated) {
                Some(script) => return self.create(script).await,
                None => return Ok(None),
            },
            Effect::CreateInitializer => objects::initializer(validated, self.seen.program),
            Effect::CreateAggregator { options } => {
                // Before the pods that mount it.
                if let Some(refused) = self.create_tokens().await? {
                    return Ok(Some(refused));
                }
                objects::aggregator(validated, &options)
            }
            Effect::CreateRunner { runner, of } => {
                let address = match (validated.aggregation(), &self.seen.address) {
                    (None, _) => None,
                    (Some(_), Fact::Known(address)) => Some(address.as_str()),
                    (Some(_), Fact::Absent | Fact::Unknown) => return Ok(None),
                };
                objects::runner(validated, (runner, of), address)
            }
            Effect::CreateStarter(targets) => objects::starter(validated, &targets),
            Effect::CreateStopper(targets) => objects::stopper(validated, &targets),
            Effect::DeleteInitializer
            | Effect::DeleteAggregator
            | Effect::DeleteRunner { .. }
            | Effect::DeleteStarter
            | Effect::DeleteFormer(_)
            | Effect::DeleteLeft(_)
            | Effect::DeleteResource
            | Effect::CreateService
            | Effect::KeepSummary => return Ok(None),
        };
        self.create(job).await
    }

    fn expect(&self, change: impl FnOnce(&mut Expectations)) {
        self.context.memory.expectations.with(&self.owner.uid, change);
    }

    fn api<K: Child>(&self) -> Api<K> {
        Api::namespaced(self.context.client.clone(), &self.owner.namespace)
    }

    /// Creates the Secret with the run's tokens, unless it exists. A Secret of this name is this run's, as the name
    /// contains the UID. The operator never reads it and has no right to.
    async fn create_tokens(&self) -> Result<Option<Refusal>, Error> {
        let tokens = match Tokens::random() {
            Ok(tokens) => tokens,
            Err(error) => return Ok(Some(Refusal::Failed(format!("no random numbers: {error}")))),
        };
        let secret = objects::tokens(self.owner, &tokens);
        let name = secret.name_any();
        let created = self.api().create(&PostParams::default(), &secret).await;
        match created {
            Ok(_) => {
                tracing::debug!(kind = "Secret", name, "created");
                Ok(None)
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
            Err(error) => Ok(Some(match refusal::<Secret>(&name, error)? {
                Refusal::ForNow(why) => Refusal::ForNow(format!(
                    "{why}: let the operator create Secrets, as manifests/rbac/role.yaml does, and the namespace have \
                     one more; or set spec.aggregation.enabled to false"
                )),
                other @ (Refusal::Invalid(_) | Refusal::Foreign(_) | Refusal::Failed(_)) => other,
            })),
        }
    }

    /// Creates the Service, which the aggregator Job owns, so that it is deleted with the Job.
    async fn create_service(&self, name: &str) -> Result<Option<Refusal>, Error> {
        let Some(job) = self.context.caches.job(&self.owner.namespace, name)? else {
            return Ok(None);
        };
        let job_uid = job.uid().unwrap_or_default();
        let service = match self
            .create_for(objects::service(self.owner, &job), &job_uid)
            .await?
        {
            Ok(Some(service)) => service,
            Ok(None) => return Ok(None),
            Err(refused) => return Ok(Some(refused)),
        };
        match service
            .spec
            .and_then(|spec| spec.cluster_ip)
            .filter(|ip| !ip.is_empty())
        {
            Some(ip) => {
                let address = objects::address(&ip, objects::AGGREGATOR_PORT);
                self.expect(|known| known.serves(&job_uid, address));
                Ok(None)
            }
            None => Ok(Some(Refusal::ForNow(format!(
                "the Service of the aggregator {name} has no address yet"
            )))),
        }
    }

    /// Keeps the documents that the aggregator has printed to its log.
    async fn keep_summary(&self, name: &str) -> Result<Option<Refusal>, Error> {
        let pods = self
            .context
            .caches
            .pods_of(&self.owner.uid, &mut UnpackedOf::default())?;
        let job = self.context.caches.job(&self.owner.namespace, name)?;
        let Some(pod) = job.as_ref().and_then(|job| pods::pod_of(job, &pods)) else {
            return Ok(Some(Refusal::ForNow(
                "the pod of the aggregator is gone".to_owned(),
            )));
        };
        let _turn = self.context.large_logs.acquire().await;
        let parameters = LogParams {
            container: Some(objects::AGGREGATE.to_owned()),
            tail_lines: Some(LOG_LINES),
            limit_bytes: Some(LOG_LIMIT),
            ..LogParams::default()
        };
        let log = self.api::<Pod>().logs(&pod.name_any(), &parameters).await?;
        // The node can cut a log. The aggregator then prints the documents again.
        let Some(documents) = Documents::parse(&log) else {
            let run = format!("{}/{}", self.owner.namespace, self.owner.name);
            let (bytes, lines) = (log.len(), log.lines().count());
            tracing::warn!(run, bytes, lines, "the aggregator's log has no summary");
            let why = format!("it is not in the log of the pod {}", pod.name_any());
            return Ok(Some(Refusal::ForNow(why)));
        };
        drop(log);
        let outcome = match &self.seen.result {
            Fact::Known(outcome) => outcome.as_ref().clone(),
            Fact::Absent | Fact::Unknown => Outcome::default(),
        };
        let about = outcome.judging(run_info::about(self.run, self.resource, self.seen));
        let (map, left_out) = objects::summary(self.owner, documents, &about);
        let refused = self.create(map).await?;
        if refused.is_none() {
            let Owner { uid, attempt, .. } = self.owner;
            let kept = &self.context.memory.kept;
            kept.with(uid, |kept| kept.keep(*attempt, outcome));
        }
        if refused.is_none() && !left_out.is_empty() {
            publish_left_out(self.context, self.resource, &left_out).await;
        }
        Ok(refused)
    }

    async fn create<K: Child>(&self, object: K) -> Result<Option<Refusal>, Error> {
        Ok(self.create_for(object, &self.owner.uid).await?.err())
    }

    /// Creates an object, unless it exists and is owned by `keeper`: this run, or one of its objects.
    async fn create_for<K: Child>(&self, object: K, keeper: &str) -> Result<Created<K>, Error> {
        let name = object.name_any();
        let kind = K::kind(&());
        let error = match self.api().create(&PostParams::default(), &object).await {
            Ok(created) => {
                self.created::<K>(&name);
                tracing::debug!(%kind, name, "created");
                return Ok(Ok(Some(created)));
            }
            Err(error) => error,
        };
        if matches!(&error, kube::Error::Api(status) if status.is_already_exists()) {
            return self.existing::<K>(&name, keeper).await;
        }
        refusal::<K>(&name, error).map(Err)
    }

    /// Expects a Job in a cache that may not show it yet.
    fn created<K: Child>(&self, name: &str) {
        if K::kind(&()) == Job::kind(&()) {
            self.expect(|known| known.created(name));
        }
    }

    /// Handles a name that is taken: by this run, by a former resource of the same name that is being deleted, or by a
    /// foreign object.
    async fn existing<K: Child>(&self, name: &str, keeper: &str) -> Result<Created<K>, Error> {
        let kind = K::kind(&());
        let Some(object) = self.api::<K>().get_opt(name).await? else {
            return Ok(Ok(None));
        };
        let owners = object.owner_references();
        if owners.iter().any(|owner| owner.uid == keeper) {
            self.created::<K>(name);
            return Ok(Ok(Some(object)));
        }
        // The Service of a deleted aggregator is being deleted too.
        let aggregator = aggregator_name(&self.owner.stem());
        let former = owners.iter().any(|owner| {
            owner.kind == self.owner.kind.as_str() && owner.name == self.owner.name
                || owner.kind == "Job" && owner.name == aggregator
        });
        Ok(Err(if former {
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
        let cached = self.context.caches.job(&self.owner.namespace, name)?;
        let job = match cached.map(|job| job.metadata.clone()) {
            Some(metadata) => metadata,
            // The caches do not show a Job whose labels somebody has removed.
            None => match self.api::<Job>().get_metadata_opt(name).await? {
                Some(found) => found.metadata,
                None => return Ok(None),
            },
        };
        let owners = job.owner_references.iter().flatten();
        let ours = owners.into_iter().any(|owner| owner.uid == self.owner.uid);
        let leaving = job.deletion_timestamp.is_some();
        let Some(uid) = job.uid.filter(|_| ours && !leaving) else {
            return Ok(None);
        };
        let only = Preconditions {
            uid: Some(uid.clone()),
            resource_version: None,
        };
        let parameters = how.preconditions(only);
        match self.api::<Job>().delete(name, &parameters).await {
            Ok(_) => {}
            // Already deleted. A conflict remains an error: another object has this name, as the cache will show.
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        self.expect(|known| known.deleted(&uid));
        tracing::debug!(job = name, "deleted");
        Ok(None)
    }

    /// Deletes the resource and, in the background, all that it owns.
    async fn delete_resource(&self) -> Result<Option<Refusal>, Error> {
        let Owner {
            kind,
            name,
            namespace,
            uid,
            ..
        } = self.owner;
        let api: Api<LoadTest> = Api::namespaced_with(self.context.client.clone(), namespace, kind);
        // In the version that was read: somebody may have asked for another run since.
        let only = Preconditions {
            uid: Some(uid.clone()),
            resource_version: self.resource.resource_version(),
        };
        let parameters = DeleteParams::background().preconditions(only);
        match api.delete(name, &parameters).await {
            Ok(_) => {
                tracing::info!(run = format!("{namespace}/{name}"), "deleted, as its spec asks");
                Ok(None)
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Where a volume has no source. Each that a user writes without one is an `emptyDir`.
const NO_VOLUME_TYPE: &str = "must specify a volume type";

/// The API server's reason for refusing an object, or the error if a retry may succeed.
fn refusal<K: Child>(name: &str, error: kube::Error) -> Result<Refusal, Error> {
    let kube::Error::Api(status) = &error else {
        return Err(error.into());
    };
    let mut message = format!("{} {name} was refused: {}", K::kind(&()), status.message);
    // An API server whose feature gate ImageVolume is off drops the source of the volume.
    if status.message.contains(NO_VOLUME_TYPE) {
        message += "; the cluster does not take images as volumes: set IMAGE_VOLUMES=never for the operator";
    }
    match status.code {
        422 => Ok(Refusal::Invalid(message)),
        400..=499 if status.code != 429 && status.code != 408 => Ok(Refusal::ForNow(message)),
        _ => Err(error.into()),
    }
}

/// An object of the run as the API server has it, None if it has been deleted meanwhile; or why it was refused.
type Created<K> = Result<Option<K>, Refusal>;

/// The kinds of objects that a run owns.
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
impl Child for Service {}
impl Child for Secret {}
impl Child for Pod {}
