//! The k6 operator: distributed k6 tests on Kubernetes, as an event-sourced state machine.
//!
//! A K6 resource, or a TestRun, which is the same under another name, is a run of a load test. What has happened
//! to it is a short list of events in its status; everything else is derived.
//!
//! ```text
//!  watch ──► observe ──► classify ──► step ──► persist ──► execute ──► publish
//!  (kube)    (gather)     (pure)      (pure)   (status,     (effects,   (Events,
//!                                              compare-     idempotent)  log)
//!                                              and-swap)
//! ```
//!
//! - **watch**: reflectors of the resources and of the Jobs and Pods that carry a run's label trigger the
//!   driver, `operator::reconcile`, which reads as the list of these steps.
//! - **observe** gathers one snapshot of the world of one run, [`machine::Observed`]. Each fact is known,
//!   absent or unknown; a failure of the API is unknown, never an empty list.
//! - **classify** finds the next [`machine::Event`] that has happened and is not in the history yet:
//!   [`machine::classify`].
//! - **step** decides the next [`machine::State`], or refuses the event: [`machine::step()`], a statig machine
//!   whose memory is the status of the resource.
//! - **persist** appends the events to `status.history` with the resource version that was read: a stale
//!   cache or a second operator loses and looks again. An order is recorded before it is carried out.
//! - **execute** performs [`machine::effects`]: what this state wants to exist and does not. Effects are
//!   derived from the state, not from the way into it, so a crash anywhere derives them again.
//! - **publish** tells transitions as Kubernetes Events.
//!
//! Of several operators one acts, the holder of a Lease: [`operator::leadership`]. It is checked before each write; what
//! would slip through is met by the compare-and-swap of persist and the fixed names of execute.
//!
//! [`machine::replay`] folds a history into a run, and a run into the status that users see; for every status
//! ever written, the replay of its history gives that status.
//!
//! A resource can have several runs, one after the other: `spec.rerun` orders the next. The history is that of
//! the present run; of each before it one line is kept.
//!
//! Where things are, from the ground up. Imports point down only; `tests/core/layers.rs` holds that.
//!
//! | layer | what it has |
//! |---|---|
//! | [`k6`], [`clock`], [`limits`], [`listen`], [`exposition`] | what is known of k6, by version; what stands on nothing else |
//! | [`protocol`] | what the pods of a run and the operator say to each other |
//! | [`machine`], [`aggregate`] | the decisions, without async, client or clock; one result of what many runners measure |
//! | [`api`] | the resource as users write and read it, and its status |
//! | [`objects`] | a validated spec -> the Kubernetes objects of a run |
//! | [`operator`], [`programs`] | the only code that talks to the API server; what runs in the pods of a run |
//!
//! The diagrams in `state-diagrams/` are generated from [`machine::step()`] by running it.

pub mod aggregate;
pub mod api;
pub mod clock;
pub mod exposition;
pub mod k6;
pub mod limits;
pub mod listen;
pub mod machine;
pub mod objects;
pub mod operator;
pub mod programs;
pub mod protocol;
