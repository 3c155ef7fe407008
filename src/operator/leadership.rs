//! Leader election: one operator acts, the others stand by. A Lease names the leader. A candidate replaces it in the
//! version that it has read, so that of two only one succeeds.
//!
//! Clocks are not compared: a candidate waits until it has itself seen the Lease unchanged for [`DURATION`], and a
//! leader stops acting [`RENEWED_WITHIN`] after it *sent* its last renewal. As the second is shorter, two never hold
//! the lease at once if their clocks run at about the same speed. A process that was frozen just after its check may
//! still act. The compare-and-swap of the status and the fixed names of the Jobs make that harmless. They do the same
//! if somebody deletes the Lease and a candidate that starts just then takes it for a new installation.

use super::error::Error;
use crate::clock::Clock;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How long a Lease must be unchanged before a candidate takes it.
pub const DURATION: Duration = Duration::from_secs(15);

/// How long a leader acts after it sent its last renewal.
pub const RENEWED_WITHIN: Duration = Duration::from_secs(10);

/// How often a leader renews its Lease, and how soon what failed is tried again.
pub const RETRY: Duration = Duration::from_secs(2);

/// How often a candidate reads the Lease that another holds: so much later it may notice that it was given up.
pub const LOOK: Duration = Duration::from_secs(5);

/// A candidate, and its Lease.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// The name of this candidate, which no other running process may have: that of its pod.
    pub identity: String,
}

/// The next step of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Create the Lease.
    Create,
    /// Replace the Lease: it is free, or its holder does not renew it.
    Take,
    /// Replace the Lease: this candidate holds it.
    Renew,
    /// Wait: another candidate holds it.
    Wait,
}

/// A Lease as a candidate finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found<'a> {
    /// There is no Lease, and this candidate has never seen one.
    Never,
    /// The Lease was deleted. Its holder may not know yet.
    Deleted,
    /// The holder of the Lease; empty if it was released.
    Held(&'a str),
}

/// Decides what to do about a Lease that has been unchanged for this long, as far as this candidate has seen.
pub fn decide(found: Found<'_>, me: &str, leads: bool, unchanged: Duration) -> Decision {
    match found {
        Found::Never => Decision::Create,
        Found::Deleted if leads || unchanged >= DURATION => Decision::Create,
        Found::Held("") => Decision::Take,
        Found::Held(holder) if holder == me => Decision::Renew,
        Found::Held(_) if unchanged >= DURATION => Decision::Take,
        Found::Deleted | Found::Held(_) => Decision::Wait,
    }
}

/// Whether this process may act now. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Leadership(Option<Arc<Mutex<Option<Instant>>>>);

impl Leadership {
    /// True forever: no other operator acts.
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

    /// Fails if another process may lead by now.
    pub fn check(&self) -> Result<(), Error> {
        let open = self.0.is_none() || self.until().is_some_and(|until| Instant::now() < until);
        if open { Ok(()) } else { Err(Error::NotLeading) }
    }
}

/// A process that leads, or waits to.
pub struct Candidate {
    api: Api<Lease>,
    settings: Settings,
    clock: Clock,
    leadership: Leadership,
    /// The Lease as this candidate wrote it last, which it renews without reading it again.
    own: Option<Lease>,
    seen: Option<Seen>,
    /// Whether it has ever seen a Lease.
    known: bool,
}

/// The Lease as it was last read, and since when it is unchanged.
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

    /// True while this candidate leads.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Waits until this candidate leads.
    pub async fn acquire(&mut self) {
        let mut reported = None;
        loop {
            let pause = match self.attempt().await {
                Ok(None) => {
                    tracing::info!(identity = self.settings.identity, "leading");
                    return;
                }
                Ok(holder) => {
                    if holder != reported {
                        tracing::info!(leader = holder, "standing by");
                        reported = holder;
                    }
                    self.until_look()
                }
                Err(error) => {
                    tracing::warn!(%error, "the lease could not be acquired; trying again");
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

    /// Renews the Lease until that fails for too long, or another process leads.
    pub async fn keep(&mut self) {
        while let Some(until) = self.leadership.until() {
            sleep(RETRY).await;
            match timeout_at(until, self.attempt()).await {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(leader))) => {
                    tracing::error!(leader, "another operator leads");
                    break;
                }
                // The renewal may have been stored nevertheless. The next attempt shows who holds the Lease.
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

    /// Releases the Lease, so that the next leader need not wait.
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
            Ok(()) => tracing::info!("no longer leading"),
            Err(error) => tracing::warn!(%error, "the lease could not be released"),
        }
    }

    /// Tries once to take or to renew the Lease. Returns the holder if another process leads.
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
            None if self.known => Found::Deleted,
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

    /// Replaces the Lease. Fails if it has changed since it was read.
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
        let created = before.is_none();
        let before = before.cloned().unwrap_or_default();
        let same = before.holder_identity.as_deref() == Some(holder);
        let transitions = before.lease_transitions.unwrap_or_default();
        let changes_hands = !created && !same && !holder.is_empty();
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
