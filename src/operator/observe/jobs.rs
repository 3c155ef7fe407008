//! Observes the Jobs of a run and their pods, as far as they decide something.

use super::Observer;
use crate::machine::{Fact, Left, Program, Runner, State};
use crate::objects::{COMPONENT_LABEL, RUN_LABEL, RUNNER_LABEL, runner_name};
use crate::operator::pods;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Observer<'_> {
    /// The names of Jobs of former runs that are not being deleted yet.
    pub(super) fn former(&self) -> Vec<String> {
        self.staying(self.children.former.iter())
    }

    /// The Jobs that a run has left after its end, without those that bring its result.
    pub(super) fn left(&self) -> Left {
        const KEPT: [&str; 4] = ["initializer", "runner", "starter", "stopper"];
        let is_kept = |job: &&Arc<Job>| {
            let component = job.labels().get(COMPONENT_LABEL);
            component.is_some_and(|component| KEPT.contains(&component.as_str()))
        };
        let jobs = match &self.run.state {
            State::Finished(_) => self.staying(self.children.jobs.values().filter(is_kept)),
            State::Initializing(_)
            | State::Created(_)
            | State::Starting(_)
            | State::Started(_)
            | State::Stopping(_) => Vec::new(),
        };
        Left {
            keep: self.context.keep_jobs,
            jobs,
        }
    }

    /// The names of those of these Jobs that are not being deleted yet.
    fn staying<'a>(&self, jobs: impl Iterator<Item = &'a Arc<Job>>) -> Vec<String> {
        let leaving = |job: &Arc<Job>| {
            job.metadata.deletion_timestamp.is_some()
                || job
                    .uid()
                    .is_some_and(|job_uid| self.expectations(|known| known.is_deleted(&job_uid)))
        };
        let staying = jobs.filter(|job| !leaving(job));
        staying.map(|job| job.name_any()).collect()
    }

    /// A Job by name, as the cache shows it, corrected by what this operator has done.
    pub(super) fn job(&self, name: &str) -> Fact<&Job> {
        match self.children.jobs.get(name) {
            Some(job) => {
                self.expectations(|known| known.shown(name));
                let deleted = job
                    .uid()
                    .is_some_and(|job_uid| self.expectations(|known| known.is_deleted(&job_uid)));
                if deleted { Fact::Unknown } else { Fact::Known(job) }
            }
            None if self.expectations(|known| known.is_created(name)) => Fact::Unknown,
            None => Fact::Absent,
        }
    }

    /// A Job by name. If its absence decides something that can't be undone, the API server is asked: a cache may be
    /// behind the resource by any time.
    pub(super) async fn job_for_certain(&self, name: &str, decides: bool) -> Fact<&Job> {
        let found = self.job(name);
        if !decides || !found.is_absent() || self.expectations(|known| known.is_absent(name)) {
            return found;
        }
        let api: Api<Job> = self.api();
        match api.get_metadata_opt(name).await {
            Ok(Some(job)) if self.owns(&job) => Fact::Unknown,
            Ok(Some(_) | None) => {
                self.expectations(|known| known.absent(name));
                Fact::Absent
            }
            Err(error) => self.unread(&error, name, "whether the Job is there"),
        }
    }

    pub(super) async fn runners(&self) -> BTreeMap<u32, Runner> {
        let is_runner = |job: &&Arc<Job>| {
            job.labels()
                .get(COMPONENT_LABEL)
                .is_some_and(|component| component == "runner")
        };
        let ended_decides = !matches!(self.run.state, State::Finished(_));
        let mut runners: BTreeMap<u32, Runner> = BTreeMap::new();
        for job in self.children.jobs.values().filter(is_runner) {
            let number = job.labels().get(RUNNER_LABEL).and_then(|text| text.parse().ok());
            if let Some(number) = number {
                let runner = match self.pod_for_certain(job, ended_decides).await {
                    Fact::Known(pod) => pods::runner(job, Some(&pod), self.now),
                    Fact::Absent => pods::runner(job, None, self.now),
                    Fact::Unknown => Runner::default(),
                };
                runners.insert(number, runner);
            }
        }
        for i in 1..=self.run.plan.as_ref().map_or(0, |plan| plan.parallelism) {
            // Before the start a missing Job is created, and the API server's answer tells if it exists.
            let decides = matches!(
                self.run.state,
                State::Starting(_) | State::Started(_) | State::Stopping(_)
            );
            match self.job_for_certain(&runner_name(&self.stem, i), decides).await {
                Fact::Known(_) => {}
                Fact::Unknown => {
                    runners.insert(i, Runner::default());
                }
                Fact::Absent => {
                    runners.remove(&i);
                }
            }
        }
        runners
    }

    /// The pod of a Job. If a Job has ended, the absence of its pod decides how it ended. Then the API server is asked:
    /// the cache of pods may be behind that of Jobs by any time.
    pub(super) async fn pod_for_certain(&self, job: &Job, decides: bool) -> Fact<Arc<Pod>> {
        if let Some(pod) = self.children.pod_of(job) {
            return Fact::Known(Arc::clone(pod));
        }
        let job_uid = job.uid().unwrap_or_default();
        if !decides || pods::job_end(job).is_none() || self.expectations(|known| known.is_absent(&job_uid)) {
            return Fact::Absent;
        }
        let found = self.listed_pod(job).await;
        if found.is_absent() {
            self.expectations(|known| known.absent(&job_uid));
        }
        found
    }

    /// The pod of a Job, as the API server itself has it.
    pub(super) async fn listed_pod(&self, job: &Job) -> Fact<Arc<Pod>> {
        let labels = [RUN_LABEL, COMPONENT_LABEL, RUNNER_LABEL];
        let labels = labels.into_iter().filter_map(|label| {
            let value = job.labels().get(label)?;
            Some(format!("{label}={value}"))
        });
        let parameters = ListParams::default().labels(&labels.collect::<Vec<_>>().join(","));
        let api: Api<Pod> = self.api();
        match api.list(&parameters).await {
            Ok(found) => {
                let found: Vec<_> = found.items.into_iter().map(Arc::new).collect();
                Fact::from(pods::pod_of(job, &found).map(Arc::clone))
            }
            Err(error) => self.unread(&error, &job.name_any(), "whether the pod of the Job is there"),
        }
    }

    pub(super) async fn program(&self, name: &str) -> Fact<Program> {
        self.program_of(self.job(name)).await
    }

    pub(super) async fn starter(&self, name: &str) -> Fact<Program> {
        let decides = matches!(self.run.state, State::Starting(_) | State::Stopping(_));
        let job = self.job_for_certain(name, decides).await;
        self.program_of(job).await
    }

    pub(super) async fn program_of(&self, job: Fact<&Job>) -> Fact<Program> {
        match job {
            Fact::Known(job) => Fact::Known(match self.pod_for_certain(job, true).await {
                Fact::Known(pod) => pods::program(job, Some(&pod)),
                Fact::Absent => pods::program(job, None),
                Fact::Unknown => Program::Running(None),
            }),
            Fact::Absent => Fact::Absent,
            Fact::Unknown => Fact::Known(Program::Running(None)),
        }
    }
}
