//! What the operator itself has done and its caches may not show yet. Losing it is harmless: everything in
//! it is found again, it only spares the API server repeated requests, and keeps actions off stale views.

use crate::api::LoadTest;
use crate::machine::{Part, PodRefusal, Refusal, Rule};
use crate::protocol::outcome::Outcome;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long an object that was made may be missing from the cache before it counts as deleted.
const CACHE_LAG: Duration = Duration::from_secs(10);

/// The least time between two writes of the live view.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// How long a change of the live view is held back: most often an event follows at once, which tells it too.
const PROGRESS_SETTLING: Duration = Duration::from_secs(1);

/// The least time between two looks at what is measured.
pub const LIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long a Job may be without a pod before it is asked why: the Job controller creates one within milliseconds.
const PODLESS_GRACE: Duration = Duration::from_secs(2);

/// The least time between two questions why a Job has no pod, the first few times and after those.
const PODLESS_INTERVAL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(15));

/// How many questions are the first few.
const PODLESS_FIRST: u32 = 6;

/// What is remembered, by UID of the resource.
#[derive(Debug, Default)]
pub struct Memory(Mutex<BTreeMap<String, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    latest: Option<LoadTest>,
    written: Option<Instant>,
    untold: Option<Instant>,
    unwritten: Option<(String, u32)>,
    made: BTreeMap<String, Instant>,
    deleted: BTreeSet<String>,
    gone: BTreeSet<String>,
    unread: bool,
    unreads: u32,
    refused: Option<Refusal>,
    refusals: u32,
    live: Option<Look>,
    kept: Option<Kept>,
    podless: Option<Podless>,
    refused_pod: Option<(Part, Rule)>,
    failures: u32,
    failure: Option<String>,
    foreign: bool,
}

/// A look at what a run measures.
#[derive(Debug)]
struct Look {
    at: Instant,
    attempt: u32,
    outcome: Option<Outcome>,
}

/// The result of a run whose documents have just been kept.
#[derive(Debug)]
struct Kept {
    at: Instant,
    attempt: u32,
    outcome: Outcome,
}

/// A Job that has no pod, and what was found out about that.
#[derive(Debug)]
struct Podless {
    /// metadata.uid of the Job.
    job: String,
    /// When it is to be asked why.
    due: Instant,
    asked: u32,
    found: Option<PodRefusal>,
}

/// What is known of a Job that has no pod.
#[derive(Debug, PartialEq, Eq)]
pub enum Why {
    /// Its Events are to be read now; this is what they said before.
    Ask(Option<PodRefusal>),
    /// They were read a short time ago, or it is too early, and this is known.
    Known(Option<PodRefusal>),
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, uid: &str, action: impl FnOnce(&mut Entry) -> T) -> T {
        action(self.lock().entry(uid.to_owned()).or_default())
    }

    /// The newer of the cached resource and the one that was last written from here.
    pub fn newest(&self, cached: &LoadTest) -> LoadTest {
        let uid = cached.uid().unwrap_or_default();
        self.with(&uid, |entry| match &entry.latest {
            Some(written) if age(written) > age(cached) => {
                let mut newest = written.clone();
                newest
                    .metadata
                    .deletion_timestamp
                    .clone_from(&cached.metadata.deletion_timestamp);
                newest
            }
            _ => {
                entry.latest = None;
                cached.clone()
            }
        })
    }

    /// The resource was read from the API server itself and this is how it is now.
    pub fn read(&self, uid: &str, resource: LoadTest) {
        self.with(uid, |entry| entry.latest = Some(resource));
    }

    /// The resource was written and this is how it is now.
    pub fn wrote(&self, uid: &str, resource: LoadTest) {
        self.with(uid, |entry| {
            entry.latest = Some(resource);
            entry.written = Some(Instant::now());
            entry.untold = None;
            entry.unwritten = None;
        });
    }

    /// Counts that the status is refused for this reason: whether that was told already, and how often in a row it is
    /// refused.
    pub fn unwritten(&self, uid: &str, why: &str) -> (bool, u32) {
        self.with(uid, |entry| {
            let (before, times) = entry.unwritten.take().unwrap_or_default();
            let times = times.saturating_add(1);
            entry.unwritten = Some((why.to_owned(), times));
            (before == why, times)
        })
    }

    /// How long until a change of the live view is to be written; zero when it is time.
    pub fn progress_pause(&self, uid: &str) -> Duration {
        self.with(uid, |entry| {
            let untold = *entry.untold.get_or_insert_with(Instant::now);
            let settling = PROGRESS_SETTLING.saturating_sub(untold.elapsed());
            let interval = entry.written.map_or(Duration::ZERO, |at| {
                PROGRESS_INTERVAL.saturating_sub(at.elapsed())
            });
            settling.max(interval)
        })
    }

    /// A Job of this name was made.
    pub fn made(&self, uid: &str, job: &str) {
        self.with(uid, |entry| {
            entry.made.insert(job.to_owned(), Instant::now());
            entry.gone.remove(job);
        });
    }

    /// Whether a Job was made that the cache does not show yet.
    pub fn is_made(&self, uid: &str, job: &str) -> bool {
        self.with(uid, |entry| {
            entry.made.get(job).is_some_and(|at| at.elapsed() < CACHE_LAG)
        })
    }

    /// How long until a Job that the cache does not show counts as deleted. It may have been deleted before any watch
    /// showed it, and then nothing else calls for another look.
    pub fn made_pause(&self, uid: &str) -> Option<Duration> {
        self.with(uid, |entry| {
            let rests = entry
                .made
                .values()
                .map(|at| CACHE_LAG.saturating_sub(at.elapsed()));
            rests.filter(|rest| !rest.is_zero()).min()
        })
    }

    /// The cache shows the Job.
    pub fn seen(&self, uid: &str, job: &str) {
        self.with(uid, |entry| {
            entry.made.remove(job);
            entry.gone.remove(job);
        });
    }

    /// The API server itself says that there is no Job of this name.
    pub fn gone(&self, uid: &str, job: &str) {
        self.with(uid, |entry| entry.gone.insert(job.to_owned()));
    }

    /// Whether the API server itself has said that there is no Job of this name, and none was made or seen since.
    pub fn is_gone(&self, uid: &str, job: &str) -> bool {
        self.with(uid, |entry| entry.gone.contains(job))
    }

    /// The Job with this UID was deleted.
    pub fn deleted(&self, uid: &str, job_uid: &str) {
        self.with(uid, |entry| entry.deleted.insert(job_uid.to_owned()));
    }

    /// Whether the Job with this UID was deleted, though the cache may show it still.
    pub fn is_deleted(&self, uid: &str, job_uid: &str) -> bool {
        self.with(uid, |entry| entry.deleted.contains(job_uid))
    }

    /// What the API server last refused, or why it has failed more than once in a row.
    pub fn refused(&self, uid: &str) -> Option<Refusal> {
        self.with(uid, |entry| {
            let failure = entry.failure.clone().filter(|_| entry.failures > 1);
            entry.refused.clone().or(failure.map(Refusal::Failed))
        })
    }

    /// Remembers what the API server refused, or that it refused nothing, and says how often it did in a row.
    pub fn set_refused(&self, uid: &str, refused: Option<Refusal>) -> u32 {
        self.with(uid, |entry| {
            entry.refusals = if refused.is_some() {
                entry.refusals.saturating_add(1)
            } else {
                0
            };
            entry.refused = refused;
            entry.refusals
        })
    }

    /// What was measured at the last look at that, if it was a short time ago.
    pub fn live(&self, uid: &str, attempt: u32) -> Option<Option<Outcome>> {
        self.with(uid, |entry| {
            let look = entry.live.as_ref().filter(|look| look.attempt == attempt)?;
            (look.at.elapsed() < LIVE_INTERVAL).then(|| look.outcome.clone())
        })
    }

    /// Remembers what was measured, if that could be read.
    pub fn looked(&self, uid: &str, attempt: u32, outcome: Option<Outcome>) {
        let at = Instant::now();
        let look = Look { at, attempt, outcome };
        self.with(uid, |entry| entry.live = Some(look));
    }

    /// The documents of this result are kept.
    pub fn summary_kept(&self, uid: &str, attempt: u32, outcome: Outcome) {
        let at = Instant::now();
        let kept = Kept { at, attempt, outcome };
        self.with(uid, |entry| entry.kept = Some(kept));
    }

    /// The result whose documents were kept a short time ago: it need not be read once more.
    pub fn kept_result(&self, uid: &str, attempt: u32) -> Option<Outcome> {
        self.with(uid, |entry| {
            let kept = entry.kept.as_ref().filter(|kept| kept.attempt == attempt)?;
            (kept.at.elapsed() < CACHE_LAG).then(|| kept.outcome.clone())
        })
    }

    /// A Job has no pod: whether its Events are to be read, or what they said.
    pub fn podless(&self, uid: &str, job_uid: &str) -> Why {
        self.with(uid, |entry| {
            let now = Instant::now();
            let known = entry.podless.take().filter(|podless| podless.job == job_uid);
            let podless = entry.podless.insert(known.unwrap_or_else(|| Podless {
                job: job_uid.to_owned(),
                due: now + PODLESS_GRACE,
                asked: 0,
                found: None,
            }));
            if now < podless.due {
                return Why::Known(podless.found.clone());
            }
            let (first, later) = PODLESS_INTERVAL;
            podless.asked = podless.asked.saturating_add(1);
            podless.due = now
                + if podless.asked < PODLESS_FIRST {
                    first
                } else {
                    later
                };
            Why::Ask(podless.found.clone())
        })
    }

    /// Remembers what the Events of the Job without a pod said.
    pub fn answered(&self, uid: &str, found: Option<PodRefusal>) {
        self.with(uid, |entry| {
            if let Some(podless) = &mut entry.podless {
                podless.found = found;
            }
        });
    }

    /// Every Job that is waited for has its pod.
    pub fn has_pods(&self, uid: &str) {
        self.with(uid, |entry| {
            entry.podless = None;
            entry.refused_pod = None;
        });
    }

    /// How long until the Events of a Job without a pod are to be read.
    pub fn podless_pause(&self, uid: &str) -> Option<Duration> {
        self.with(uid, |entry| {
            let podless = entry.podless.as_ref()?;
            Some(podless.due.saturating_duration_since(Instant::now()))
        })
    }

    /// Remembers that this refusal is told in an Event, and says whether it was told before.
    pub fn is_told_refusal(&self, uid: &str, refusal: &PodRefusal) -> bool {
        let told = Some((refusal.part, refusal.rule));
        self.with(uid, |entry| {
            std::mem::replace(&mut entry.refused_pod, told) == told
        })
    }

    /// Something could not be read at this look.
    pub fn unread(&self, uid: &str) {
        self.with(uid, |entry| entry.unread = true);
    }

    /// Ends a look: in how many in a row something could not be read, if in this one.
    pub fn unreads(&self, uid: &str) -> Option<u32> {
        self.with(uid, |entry| {
            let unread = std::mem::take(&mut entry.unread);
            entry.unreads = if unread {
                entry.unreads.saturating_add(1)
            } else {
                0
            };
            unread.then_some(entry.unreads)
        })
    }

    /// Counts a failure and says how often it has failed in a row.
    pub fn failed(&self, uid: &str, why: String) -> u32 {
        self.with(uid, |entry| {
            entry.failures = entry.failures.saturating_add(1);
            entry.failure = Some(why);
            entry.failures
        })
    }

    /// Ends a row of failures.
    pub fn succeeded(&self, uid: &str) {
        self.with(uid, |entry| {
            entry.failures = 0;
            entry.failure = None;
        });
    }

    /// Remembers that the status of the resource is another operator's, and says whether it was known.
    pub fn is_known_foreign(&self, uid: &str) -> bool {
        self.with(uid, |entry| std::mem::replace(&mut entry.foreign, true))
    }

    /// Forgets the resources that are not among these.
    pub fn keep(&self, uids: &BTreeSet<String>) {
        self.lock().retain(|uid, _| uids.contains(uid));
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
    use super::{Memory, PODLESS_GRACE, PODLESS_INTERVAL, Why};
    use crate::api::{Kind, LoadTest, Spec};
    use crate::machine::{Part, PodRefusal};
    use crate::protocol::outcome::Outcome;
    use jiff::SignedDuration;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use std::time::Duration;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_job_without_a_pod_is_asked_why_after_a_while_and_then_now_and_then() {
        let memory = Memory::default();
        assert_eq!(memory.podless_pause("uid"), None);
        assert_eq!(memory.podless("uid", "job"), Why::Known(None));
        assert_eq!(memory.podless_pause("uid"), Some(PODLESS_GRACE));
        advance(PODLESS_GRACE).await;
        assert_eq!(memory.podless("uid", "job"), Why::Ask(None));
        let refusal = PodRefusal::told(Part::Starter, "no", SignedDuration::ZERO);
        memory.answered("uid", Some(refusal.clone()));
        assert_eq!(memory.podless("uid", "job"), Why::Known(Some(refusal.clone())));
        let told = [
            memory.is_told_refusal("uid", &refusal),
            memory.is_told_refusal("uid", &refusal),
        ];
        assert_eq!(told, [false, true]);
        let mut asked = 0;
        for _ in 0..3600 {
            advance(Duration::from_secs(1)).await;
            asked += u32::from(memory.podless("uid", "job") == Why::Ask(Some(refusal.clone())));
        }
        assert!(asked <= 3600 / 15 + 6, "{asked} requests in an hour");
        // Of another Job nothing is known.
        assert_eq!(memory.podless("uid", "other"), Why::Known(None));
        memory.has_pods("uid");
        assert_eq!(memory.podless_pause("uid"), None);
        assert!(PODLESS_INTERVAL.0 < PODLESS_INTERVAL.1);
    }

    #[test]
    fn refused_status_is_told_once_for_each_reason_until_one_is_written() {
        let memory = Memory::default();
        assert_eq!(memory.unwritten("uid", "too large"), (false, 1));
        assert_eq!(memory.unwritten("uid", "too large"), (true, 2));
        assert_eq!(memory.unwritten("uid", "denied"), (false, 3));
        let written = LoadTest {
            api_version: String::new(),
            kind: Kind::K6,
            metadata: ObjectMeta::default(),
            spec: Spec::default(),
            status: None,
        };
        memory.wrote("uid", written);
        assert_eq!(memory.unwritten("uid", "denied"), (false, 1));
    }

    #[test]
    fn what_a_run_measured_is_not_told_of_the_next() {
        let memory = Memory::default();
        memory.looked("uid", 1, Some(Outcome::default()));
        assert_eq!(memory.live("uid", 1), Some(Some(Outcome::default())));
        assert_eq!(memory.live("uid", 2), None);
    }
}
