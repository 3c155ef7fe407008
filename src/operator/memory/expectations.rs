//! What the operator itself has done and its caches may not show yet.

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
    /// What the API server itself has said is not there.
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

    /// The resource was read from the API server itself, or written, and this is how it is now.
    pub fn read(&mut self, resource: LoadTest) {
        self.latest = Some(resource);
    }

    /// A Job of this name was created.
    pub fn created(&mut self, job: &str) {
        self.created.insert(job.to_owned(), Instant::now());
        self.absent.remove(job);
    }

    /// Whether a Job was created that the cache does not show yet.
    pub fn is_created(&self, job: &str) -> bool {
        self.created.get(job).is_some_and(|at| at.elapsed() < CACHE_LAG)
    }

    /// How long until a Job that the cache does not show counts as deleted. It may have been deleted before any watch
    /// showed it, and then nothing else calls for another look.
    pub fn pause(&self) -> Option<Duration> {
        let rests = self
            .created
            .values()
            .map(|at| CACHE_LAG.saturating_sub(at.elapsed()));
        rests.filter(|rest| !rest.is_zero()).min()
    }

    /// The cache shows the Job.
    pub fn shown(&mut self, job: &str) {
        self.created.remove(job);
        self.absent.remove(job);
    }

    /// The API server itself says that there is no Job of this name, or no pod of the Job with this UID.
    pub fn absent(&mut self, job: &str) {
        self.absent.insert(job.to_owned());
    }

    /// Whether the API server itself has said so, and no Job of this name was created or shown since.
    pub fn is_absent(&self, job: &str) -> bool {
        self.absent.contains(job)
    }

    /// The Job with this UID was deleted.
    pub fn deleted(&mut self, job_uid: &str) {
        self.deleted.insert(job_uid.to_owned());
    }

    /// Whether the Job with this UID was deleted, though the cache may show it still.
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
