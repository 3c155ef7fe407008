//! The Jobs and pods of one resource.

use crate::api::LoadTest;
use crate::objects::{ATTEMPT_LABEL, RUN_LABEL};
use crate::operator::caches::{PAGE, Unpacked, slim_job, slim_pod};
use crate::operator::context::Context;
use crate::operator::error::Error;
use crate::operator::pods;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The Jobs and pods of one run.
pub(super) struct Children {
    /// Its Jobs by name.
    pub jobs: BTreeMap<String, Arc<Job>>,
    /// The Jobs of the runs before this one.
    pub former: Vec<Arc<Job>>,
    /// The pods of this run and of those before it, by the UIDs of their owners. Each runner's is looked up at each
    /// look.
    pods: BTreeMap<String, Vec<Arc<Pod>>>,
}

impl Children {
    fn of(uid: &str, attempt: u32, jobs: impl IntoIterator<Item = Arc<Job>>, pods: Vec<Arc<Pod>>) -> Self {
        let owned = |job: &Arc<Job>| job.owner_references().iter().any(|owner| owner.uid == uid);
        let attempt = attempt.to_string();
        let of_this_run = |job: &Arc<Job>| {
            job.labels()
                .get(ATTEMPT_LABEL)
                .is_none_or(|label| *label == attempt)
        };
        let (jobs, former): (Vec<_>, Vec<_>) = jobs.into_iter().filter(owned).partition(of_this_run);
        let mut of_owner: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in pods {
            for owner in pod.owner_references() {
                let of_it = of_owner.entry(owner.uid.clone()).or_default();
                of_it.push(Arc::clone(&pod));
            }
        }
        Self {
            jobs: jobs.into_iter().map(|job| (job.name_any(), job)).collect(),
            former,
            pods: of_owner,
        }
    }

    /// The Jobs and pods that the caches show. Those of a run that is on are kept unpacked for its next look.
    pub fn cached(context: &Context, uid: &str, attempt: u32, is_on: bool) -> Result<Self, Error> {
        let all = |unpacked: &mut Unpacked| {
            let Unpacked { jobs, pods } = unpacked;
            Ok((
                context.caches.jobs_of(uid, jobs)?,
                context.caches.pods_of(uid, pods)?,
            ))
        };
        let found: Result<_, Error> = if is_on {
            context.memory.unpacked.with(uid, all)
        } else {
            all(&mut Unpacked::default())
        };
        let (jobs, pods) = found?;
        Ok(Self::of(uid, attempt, jobs, pods))
    }

    /// The pod of a Job: the newest that is not being deleted, else the newest.
    pub fn pod_of(&self, job: &Job) -> Option<&Arc<Pod>> {
        let pods = self.pods.get(job.metadata.uid.as_deref()?)?;
        pods::pod_of(job, pods)
    }

    /// The Jobs and pods that the API server lists.
    pub async fn listed(
        context: &Context,
        resource: &LoadTest,
        uid: &str,
        attempt: u32,
    ) -> Result<Self, Error> {
        let namespace = resource.namespace().unwrap_or_default();
        let (jobs, pods): (Api<Job>, Api<Pod>) = (
            Api::namespaced(context.client.clone(), &namespace),
            Api::namespaced(context.client.clone(), &namespace),
        );
        let of_it = ListParams::default()
            .labels(&format!("{RUN_LABEL}={uid}"))
            .limit(PAGE);
        let jobs = in_pages(&jobs, of_it.clone(), slim_job).await?;
        let pods = in_pages(&pods, of_it, slim_pod).await?;
        Ok(Self::of(uid, attempt, jobs, pods))
    }
}

/// Lists all objects in pages, and slims each page: the Jobs and pods of 2,000 runners take 50 MB as the API server
/// sends them.
async fn in_pages<K>(api: &Api<K>, mut list: ListParams, slim: fn(&mut K)) -> Result<Vec<Arc<K>>, Error>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let mut all = Vec::new();
    loop {
        let page = api.list(&list).await?;
        all.extend(page.items.into_iter().map(|mut object| {
            slim(&mut object);
            Arc::new(object)
        }));
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => list = list.continue_token(&token),
            Some(_) | None => return Ok(all),
        }
    }
}
