//! What the operator has done and its caches may not show yet.

use crate::api::LoadTest;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How long an object that was created may be missing from the cache before it counts as deleted.
pub(super) const CACHE_LAG: Duration = Duration::from_secs(10);

/// How long a version of the resource counts as the newest after the API server has been asked for it.
const NEWEST: Duration = Duration::from_secs(1);

/// What the caches are expected to show.
#[derive(Debug, Default)]
pub struct Expectations {
    /// The resource as it was last written or read from here.
    latest: Option<Box<LoadTest>>,
    /// The last version that the API server has answered with, and when it was asked.
    answered: Option<(String, Instant)>,
    /// The address of the aggregator's Service, by the UID of the aggregator's Job. Services are not watched.
    service: Option<(String, String)>,
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
                let mut newest = LoadTest::clone(written);
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

    /// Remembers the resource as it was read from the API server, or written, with a request sent at this moment.
    pub fn read(&mut self, resource: LoadTest, sent: Instant) {
        self.answered = resource.resource_version().map(|version| (version, sent));
        self.latest = Some(Box::new(resource));
    }

    /// True if the API server itself has just answered with this version of the resource.
    pub fn is_newest(&self, resource: &LoadTest) -> bool {
        let of_it =
            |(version, _): &&(String, Instant)| Some(version) == resource.metadata.resource_version.as_ref();
        let answered = self.answered.as_ref().filter(of_it);
        answered.is_some_and(|(_, sent)| sent.elapsed() < NEWEST)
    }

    /// Remembers the address of the Service that belongs to the aggregator's Job with this UID.
    pub fn serves(&mut self, job_uid: &str, address: String) {
        self.service = Some((job_uid.to_owned(), address));
    }

    /// The address of the Service that belongs to the aggregator's Job with this UID, if it is known.
    pub fn service(&self, job_uid: &str) -> Option<String> {
        let service = self.service.as_ref().filter(|(of, _)| of == job_uid);
        service.map(|(_, address)| address.clone())
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
    use super::{CACHE_LAG, Expectations, NEWEST};
    use crate::api::LoadTest;
    use serde_json::json;
    use tokio::time::{Instant, advance};

    fn resource(version: &str) -> LoadTest {
        let resource = json!({
            "apiVersion": "k6.io/v1alpha1", "kind": "K6", "spec": {"parallelism": 1, "script": "s"},
            "metadata": {"name": "a", "resourceVersion": version}
        });
        serde_json::from_value(resource).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn version_is_the_newest_for_a_moment_after_its_request_was_sent() {
        let mut known = Expectations::default();
        assert!(!known.is_newest(&resource("1")));
        let sent = Instant::now();
        advance(NEWEST / 2).await;
        known.read(resource("2"), sent);
        assert!(known.is_newest(&resource("2")));
        assert!(!known.is_newest(&resource("1")) && !known.is_newest(&resource("3")));
        // The cache shows it too: it is the newest nevertheless.
        known.newest(&resource("2"));
        assert!(known.is_newest(&resource("2")));
        advance(NEWEST / 2).await;
        assert!(!known.is_newest(&resource("2")));
    }

    #[test]
    fn address_is_that_of_one_job_and_not_of_the_next() {
        let mut known = Expectations::default();
        known.serves("first", "10.96.0.9:4318".to_owned());
        assert_eq!(known.service("first").as_deref(), Some("10.96.0.9:4318"));
        assert_eq!(known.service("second"), None);
    }

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
