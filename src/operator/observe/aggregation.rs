//! Observes the aggregator, and reads what it reports of the test.

use super::Observer;
use crate::machine::{Fact, Observed, State};
use crate::objects::{AGGREGATE, aggregator_name};
use crate::operator::pods;
use crate::protocol::outcome::{Outcome, Told};
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, ResourceExt};

/// How much of the end of the aggregator's log is read for the live view, in lines and in bytes.
const LIVE_LINES: i64 = 50;

const LIVE_LIMIT: i64 = 256 * 1024;

/// How much of the end of an aggregator's log is read for the result, in lines and in bytes.
const RESULT_LINES: i64 = 20;

const RESULT_LIMIT: i64 = 256 * 1024;

/// How long an aggregator may report interim numbers and no result after all runners have ended. One of operator 0.1
/// waits to be asked for its result: after this time its last numbers are the result.
const INTERIM_LIMIT: SignedDuration = SignedDuration::from_secs(60);

impl Observer<'_> {
    /// Observes the aggregator and the result, as far as the state needs them.
    pub(super) async fn aggregation(&self, seen: &mut Observed) {
        let aggregator = aggregator_name(&self.stem);
        let aggregated = self
            .run
            .plan
            .as_ref()
            .is_some_and(|plan| plan.aggregation.is_some());
        let ended = self.run.state.awaits_result().is_some();
        // The runners get its address.
        let needs_address = matches!((&self.run.state, &seen.runners),
            (State::Created(_), Fact::Known(runners)) if !runners.is_empty());
        let job = self
            .job_for_certain(&aggregator, aggregated && (ended || needs_address))
            .await;
        seen.aggregator = match &job {
            Fact::Known(job) => match self.pod_for_certain(job, aggregated).await {
                Fact::Known(pod) => Fact::Known(pods::aggregator(job, Some(&pod))),
                Fact::Absent => Fact::Known(pods::aggregator(job, None)),
                Fact::Unknown => Fact::Unknown,
            },
            Fact::Absent => Fact::Absent,
            Fact::Unknown => Fact::Unknown,
        };
        let runners_missing = match (&self.run.state, &seen.runners) {
            (State::Created(state), Fact::Known(runners)) => {
                (1..=state.plan.parallelism).any(|i| !runners.contains_key(&i))
            }
            _ => false,
        };
        if let (true, true, Fact::Known(_)) = (aggregated, runners_missing, &seen.aggregator) {
            seen.address = self.address();
        }
        let runs = self.run.state.runs_test();
        if let (true, true, Fact::Known(aggregator)) = (aggregated, runs, &seen.aggregator)
            && aggregator.is_ready()
        {
            seen.live = self.live(&job).await;
        }
        if let (true, Some(since)) = (aggregated, self.run.state.awaits_result()) {
            let kept = &self.context.memory.kept;
            if let Some(outcome) = kept.with(&self.uid, |kept| kept.fresh(self.run.attempt)) {
                seen.result = Fact::Known(Box::new(outcome));
                seen.summary = Fact::Known(());
                return;
            }
            let waited = self.now.duration_since(since);
            seen.result = self.result(job, waited).await;
            if matches!(seen.result, Fact::Known(_)) {
                // Its creation tells if it exists.
                seen.summary = Fact::Absent;
            }
        }
    }

    /// The result of the test, from the aggregator's log or its termination message.
    pub(super) async fn result(&self, job: Fact<&Job>, waited: SignedDuration) -> Fact<Box<Outcome>> {
        let job = match job {
            Fact::Known(job) => job,
            Fact::Absent => return Fact::Absent,
            Fact::Unknown => return Fact::Unknown,
        };
        let Some(pod) = self.children.pod_of(job) else {
            return Fact::Absent;
        };
        if let Some(outcome) = pods::left_outcome(pod) {
            return Fact::Known(Box::new(outcome));
        }
        let api: Api<Pod> = self.api();
        let last = LogParams {
            container: Some(AGGREGATE.to_owned()),
            tail_lines: Some(RESULT_LINES),
            limit_bytes: Some(RESULT_LIMIT),
            ..LogParams::default()
        };
        let reported = match api.logs(&pod.name_any(), &last).await {
            Ok(log) => Told::of(&log),
            Err(error) => {
                tracing::warn!(%error, "the aggregator's log could not be read");
                Told::Nothing
            }
        };
        match reported {
            Told::Final(outcome) => Fact::Known(Box::new(outcome)),
            Told::SoFar(outcome) if waited >= INTERIM_LIMIT => Fact::Known(Box::new(outcome)),
            Told::SoFar(_) | Told::Nothing => {
                self.read_again();
                Fact::Absent
            }
        }
    }

    /// The numbers that the aggregator last reported. No decision depends on them.
    pub(super) async fn live(&self, job: &Fact<&Job>) -> Option<Outcome> {
        let (memory, attempt) = (&self.context.memory.live, self.run.attempt);
        if let Some(outcome) = memory.with(&self.uid, |live| live.fresh(attempt)) {
            return outcome;
        }
        let Fact::Known(job) = job else {
            return None;
        };
        let pod = self.children.pod_of(job)?;
        let api: Api<Pod> = self.api();
        let last = LogParams {
            container: Some(AGGREGATE.to_owned()),
            tail_lines: Some(LIVE_LINES),
            limit_bytes: Some(LIVE_LIMIT),
            ..LogParams::default()
        };
        let outcome = match api.logs(&pod.name_any(), &last).await {
            // The aggregator's warnings stand between the lines with numbers.
            Ok(lines) => lines
                .lines()
                .rev()
                .find_map(|line| serde_json::from_str(line).ok()),
            Err(error) => {
                tracing::debug!(%error, "the aggregator's log could not be read");
                None
            }
        };
        memory.with(&self.uid, |live| live.read(attempt, outcome.clone()));
        outcome
    }

    /// The address of the aggregator's Service, if this process knows it. If not, its creation tells it, even if the
    /// Service exists.
    fn address(&self) -> Fact<String> {
        let job = self.children.jobs.get(&aggregator_name(&self.stem));
        let known = job
            .and_then(|job| job.uid())
            .and_then(|job_uid| self.expectations(|known| known.service(&job_uid)));
        Fact::from(known)
    }
}
