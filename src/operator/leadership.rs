//! Leader election: one operator acts, the others stand by. A Lease names who, and whoever wants to be next
//! replaces it in the version that it read, so that of two only one succeeds.
//!
//! No clock is compared with another's: a candidate waits until it has itself seen the Lease unchanged for
//! [`DURATION`], and a leader stops to act [`RENEWED_WITHIN`] after it *sent* its last renewal. As the second is
//! shorter, there is never a moment at which two hold the lease, if their clocks run at about the same speed. What
//! a process does that was frozen just after it looked, the compare-and-swap of the status and the fixed names of
//! the Jobs make harmless; so they do where somebody deletes the Lease and a candidate starts just then, which takes
//! it for a new installation.

use super::error::Error;
use crate::clock::Clock;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How long a candidate must have seen a Lease unchanged before it takes it.
pub const DURATION: Duration = Duration::from_secs(15);

/// How long after it sent its last renewal a leader acts.
pub const RENEWED_WITHIN: Duration = Duration::from_secs(10);

/// How often a leader renews its Lease, and how soon what failed is tried again.
pub const RETRY: Duration = Duration::from_secs(2);

/// How often a candidate reads the Lease that another holds: so much later it may notice that it was given up.
pub const LOOK: Duration = Duration::from_secs(5);

/// Who wants to lead, and by which Lease.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The name of this candidate, which no other process that runs may have: the name of its pod.
    pub identity: String,
}

/// What a candidate is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Make the Lease.
    Create,
    /// Replace it: it is free, or its holder is gone.
    Take,
    /// Replace it: it is mine.
    Renew,
    /// Another holds it.
    Wait,
}

/// A Lease as a candidate finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found<'a> {
    /// There is none, and this candidate has never seen one.
    Never,
    /// There is none any more. Who held it may not know yet.
    Gone,
    /// This is its holder; empty if it was given up.
    Held(&'a str),
}

/// What to do about a Lease that has been as it is for so long, as far as this candidate has seen.
pub fn decide(found: Found<'_>, me: &str, leads: bool, unchanged: Duration) -> Decision {
    match found {
        Found::Never => Decision::Create,
        Found::Gone if leads || unchanged >= DURATION => Decision::Create,
        Found::Held("") => Decision::Take,
        Found::Held(holder) if holder == me => Decision::Renew,
        Found::Held(_) if unchanged >= DURATION => Decision::Take,
        Found::Gone | Found::Held(_) => Decision::Wait,
    }
}

/// Whether this process may act now. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Leadership(Option<Arc<Mutex<Option<Instant>>>>);

impl Leadership {
    /// Open for ever: nobody else acts.
    pub fn open() -> Self {
        Self(None)
    }

    fn closed() -> Self {
        Self(Some(Arc::default()))
    }

    fn set(&self, until: Option<Instant>) {
        if let Some(leadership) = &self.0 {
            *leadership.lock().unwrap_or_else(PoisonError::into_inner) = until;
        }
    }

    fn until(&self) -> Option<Instant> {
        let leadership = self.0.as_ref()?;
        *leadership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails if another may lead by now.
    pub fn check(&self) -> Result<(), Error> {
        let open = self.0.is_none() || self.until().is_some_and(|until| Instant::now() < until);
        if open { Ok(()) } else { Err(Error::NotLeading) }
    }
}

/// A candidate, or the leader.
pub struct Candidate {
    api: Api<Lease>,
    settings: Settings,
    clock: Clock,
    leadership: Leadership,
    /// The Lease as this candidate wrote it last, which it renews without reading it again.
    own: Option<Lease>,
    seen: Option<Seen>,
    /// Whether there has been a Lease.
    known: bool,
}

/// A Lease as it was read last, and since when it is so.
struct Seen {
    version: Option<String>,
    since: Instant,
}

impl Candidate {
    /// A candidate that does not lead.
    pub fn new(client: Client, settings: Settings, clock: Clock) -> Self {
        Self {
            api: Api::namespaced(client, &settings.namespace),
            settings,
            clock,
            leadership: Leadership::closed(),
            own: None,
            seen: None,
            known: false,
        }
    }

    /// Opens while this candidate leads.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Waits until this candidate leads.
    pub async fn acquire(&mut self) {
        let mut told = None;
        loop {
            let pause = match self.attempt().await {
                Ok(None) => {
                    tracing::info!(identity = self.settings.identity, "leads");
                    return;
                }
                Ok(holder) => {
                    if holder != told {
                        tracing::info!(leader = holder, "stands by");
                        told = holder;
                    }
                    self.until_look()
                }
                Err(error) => {
                    tracing::warn!(%error, "the lease can't be had; trying again");
                    RETRY
                }
            };
            sleep(pause).await;
        }
    }

    /// How long until it is to be read again: the Lease of a leader that is gone is taken as soon as it may be.
    fn until_look(&self) -> Duration {
        let unchanged = self
            .seen
            .as_ref()
            .map_or(Duration::ZERO, |seen| seen.since.elapsed());
        match DURATION.saturating_sub(unchanged) {
            Duration::ZERO => RETRY,
            rest => rest.min(LOOK),
        }
    }

    /// Renews until that fails for too long, or another leads.
    pub async fn keep(&mut self) {
        while let Some(until) = self.leadership.until() {
            sleep(RETRY).await;
            match timeout_at(until, self.attempt()).await {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(leader))) => {
                    tracing::error!(leader, "another leads");
                    break;
                }
                // A renewal that may have been taken changes the version: only its holder counts.
                Ok(Err(error)) => tracing::warn!(%error, "the lease could not be renewed; trying again"),
                Err(_) => {
                    tracing::error!("the lease could not be renewed in time");
                    break;
                }
            }
            if self.leadership.check().is_err() {
                break;
            }
        }
        self.leadership.set(None);
    }

    /// Gives the Lease up, so that the next need not wait.
    pub async fn release(&mut self) {
        self.leadership.set(None);
        let released = async {
            let Some(lease) = self.api.get_opt(&self.settings.name).await? else {
                return Ok(());
            };
            if holder(&lease) == Some(&self.settings.identity) {
                self.replace(lease, "").await?;
            }
            Ok::<_, Error>(())
        };
        match released.await {
            Ok(()) => tracing::info!("leads no more"),
            Err(error) => tracing::warn!(%error, "the lease could not be released"),
        }
    }

    /// Tries once to lead, or to go on leading; if another leads, says who.
    async fn attempt(&mut self) -> Result<Option<String>, Error> {
        if let Some(lease) = self.own.take()
            && self.leadership.check().is_ok()
        {
            match self.lead(Some(lease.clone())).await {
                // Whoever has changed it is read.
                Err(Error::Kube(kube::Error::Api(status)))
                    if status.is_conflict() || status.is_not_found() => {}
                Err(error) => {
                    self.own = Some(lease);
                    return Err(error);
                }
                Ok(()) => return Ok(None),
            }
        }
        let lease = self.api.get_opt(&self.settings.name).await?;
        let version = lease
            .as_ref()
            .and_then(|lease| lease.metadata.resource_version.clone());
        let since = match &self.seen {
            Some(seen) if seen.version == version => seen.since,
            Some(_) | None => Instant::now(),
        };
        self.seen = Some(Seen { version, since });
        let found = match &lease {
            Some(lease) => Found::Held(holder(lease).unwrap_or_default()),
            None if self.known => Found::Gone,
            None => Found::Never,
        };
        self.known |= lease.is_some();
        let me = &self.settings.identity;
        let leads = self.leadership.check().is_ok();
        match (decide(found, me, leads, since.elapsed()), lease) {
            (Decision::Wait, lease) => {
                let leader = lease.as_ref().and_then(holder).unwrap_or("nobody");
                return Ok(Some(leader.to_owned()));
            }
            (Decision::Create | Decision::Take | Decision::Renew, lease) => self.lead(lease).await?,
        }
        Ok(None)
    }

    /// Creates or renews the Lease, and leads from then on.
    async fn lead(&mut self, lease: Option<Lease>) -> Result<(), Error> {
        let sent = Instant::now();
        let me = self.settings.identity.clone();
        self.own = Some(match lease {
            Some(lease) => self.replace(lease, &me).await?,
            None => {
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(self.settings.name.clone()),
                        ..ObjectMeta::default()
                    },
                    spec: Some(self.spec(None, &me)),
                };
                self.api.create(&PostParams::default(), &lease).await?
            }
        });
        self.known = true;
        self.leadership.set(Some(sent + RENEWED_WITHIN));
        Ok(())
    }

    /// Fails if the Lease is no longer the one that was read.
    async fn replace(&self, lease: Lease, holder: &str) -> Result<Lease, Error> {
        let spec = self.spec(lease.spec.as_ref(), holder);
        let lease = Lease {
            spec: Some(spec),
            ..lease
        };
        let how = PostParams::default();
        Ok(self.api.replace(&self.settings.name, &how, &lease).await?)
    }

    fn spec(&self, before: Option<&LeaseSpec>, holder: &str) -> LeaseSpec {
        let now = MicroTime(self.clock.now());
        let made = before.is_none();
        let before = before.cloned().unwrap_or_default();
        let same = before.holder_identity.as_deref() == Some(holder);
        let transitions = before.lease_transitions.unwrap_or_default();
        let changes_hands = !made && !same && !holder.is_empty();
        let seconds = if holder.is_empty() { 1 } else { DURATION.as_secs() };
        LeaseSpec {
            acquire_time: if same {
                before.acquire_time
            } else {
                Some(now.clone())
            },
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: i32::try_from(seconds).ok(),
            lease_transitions: Some(transitions + i32::from(changes_hands)),
            renew_time: Some(now),
            ..before
        }
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}
