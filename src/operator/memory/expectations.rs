//! What the operator has done and its caches may not show yet.

use crate::api::LoadTest;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How long an object that was created may be missing from the cache before it counts as deleted.
pub(super) const CACHE_LAG: Duration = Duration::from_secs(10);

/// What the caches are expected to show.
#[derive(Debug, Default)]
pub struct Expectations {
    /// The resource as it was last written or read from here.
    latest: Option<LoadTest>,
    /// When Jobs were created, by name.
    created: BTreeMap<String, Instant>,
    /// Jobs that were deleted, by UID.
    deleted: BTreeSet<String>,
    /// The Jobs that the API server itself does not have, by name, and those without a pod, by UID.
    absent: BTreeSet<String>,
}

impl Expectations {
    /// The newer of the cached resource and the one that was last written or read from here.
    pub fn newest(&mut self, cached: &LoadTest) -> LoadTest {
        match &self.latest {
            Some(written) if age(written) > age(cached) => {
                let mut newest = written.clone();
                newest
                    .metadata
                    .deletion_timestamp
                    .clone_from(&cached.metadata.deletion_timestamp);
                newest
            }
            _ => {
                self.latest = None;
                cached.clone()
            }
        }
    }

    /// Remembers the resource as it was read from the API server, or written.
    pub fn read(&mut self, resource: LoadTest) {
        self.latest = Some(resource);
    }

    /// Remembers that a Job of this name was created.
    pub fn created(&mut self, job: &str) {
        self.created.insert(job.to_owned(), Instant::now());
        self.absent.remove(job);
    }

    /// True if a Job was created that the cache does not show yet.
    pub fn is_created(&self, job: &str) -> bool {
        self.created.get(job).is_some_and(|at| at.elapsed() < CACHE_LAG)
    }

    /// The pause until a Job that the cache does not show counts as deleted. If it was deleted before any watch showed
    /// it, nothing else calls for another look.
    pub fn pause(&self) -> Option<Duration> {
        let rests = self
            .created
            .values()
            .map(|at| CACHE_LAG.saturating_sub(at.elapsed()));
        rests.filter(|rest| !rest.is_zero()).min()
    }

    /// Remembers that the cache shows the Job.
    pub fn shown(&mut self, job: &str) {
        self.created.remove(job);
        self.absent.remove(job);
    }

    /// Remembers that the API server itself has no Job of this name, or no pod of the Job with this UID.
    pub fn absent(&mut self, job: &str) {
        self.absent.insert(job.to_owned());
    }

    /// True if the API server has said so, and no Job of this name was created or shown since.
    pub fn is_absent(&self, job: &str) -> bool {
        self.absent.contains(job)
    }

    /// Remembers that the Job with this UID was deleted.
    pub fn deleted(&mut self, job_uid: &str) {
        self.deleted.insert(job_uid.to_owned());
    }

    /// True if the Job with this UID was deleted, even if the cache still shows it.
    pub fn is_deleted(&self, job_uid: &str) -> bool {
        self.deleted.contains(job_uid)
    }
}

/// Orders versions of one resource: runs are counted, and the history of a run only grows; between equal
/// histories the resource version decides, which Kubernetes compares as a number (KEP-5504).
fn age(resource: &LoadTest) -> (u32, usize, u64) {
    let status = resource.status.as_ref();
    let attempt = status.and_then(|status| status.attempt).unwrap_or_default();
    let events = status.map_or(0, |status| status.history.len());
    let version = resource
        .metadata
        .resource_version
        .as_deref()
        .and_then(|v| v.parse().ok());
    (attempt, events, version.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{CACHE_LAG, Expectations};
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn created_job_is_expected_until_it_is_shown_or_too_late() {
        let mut known = Expectations::default();
        known.absent("job");
        assert!(known.is_absent("job"));
        known.created("job");
        assert!(known.is_created("job") && !known.is_absent("job"));
        assert_eq!(known.pause(), Some(CACHE_LAG));
        known.shown("job");
        assert!(!known.is_created("job"));
        known.created("job");
        advance(CACHE_LAG).await;
        assert!(!known.is_created("job"));
        assert_eq!(known.pause(), None);
    }
}
