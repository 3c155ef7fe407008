//! The Jobs and pods of one resource.

use crate::api::LoadTest;
use crate::objects::{ATTEMPT_LABEL, RUN_LABEL};
use crate::operator::caches::{PAGE, slim_job, slim_pod};
use crate::operator::context::Context;
use crate::operator::error::Error;
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
    /// The pods of this run and of those before it.
    pub pods: Vec<Arc<Pod>>,
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
        Self {
            jobs: jobs.into_iter().map(|job| (job.name_any(), job)).collect(),
            former,
            pods,
        }
    }

    /// The Jobs and pods that the caches show.
    pub fn cached(context: &Context, uid: &str, attempt: u32) -> Result<Self, Error> {
        let (jobs, pods) = (context.caches.jobs_of(uid)?, context.caches.pods_of(uid)?);
        Ok(Self::of(uid, attempt, jobs, pods))
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
