//! Gathers one immutable snapshot of the world of one run. What is watched comes from the caches; only what
//! can't be watched is asked for, and only in the state that needs it.

use super::caches::{PAGE, slim_job, slim_pod, slim_test};
use super::memory::Why;
use super::pods::{self, InitializerPod};
use super::reconcile::{Context, Error, bounded};
use crate::api::{LoadTest, Spec};
use crate::machine::{
    Fact, Initializer, Initializing, Inspection, Left, Observed, Part, PodRefusal, Program, Retention, Run,
    Runner, Started, State, are_as_ordered, overdue,
};
use crate::objects::{
    self, AGGREGATE, AGGREGATOR_PORT, ATTEMPT_LABEL, COMPONENT_LABEL, GENERATION_ANNOTATION, RUN_LABEL,
    RUNNER_LABEL, Script, ValidatedSpec, aggregator_name, initializer_name, runner_name, script_name,
    service_name, starter_name, stem, stopper_name, summary_name,
};
use crate::protocol::inspected::Inspected;
use crate::protocol::outcome::{Outcome, Told};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, Service};
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The longest output of `k6 inspect` that is read.
const INSPECTION_LIMIT: i64 = 4 * 1024 * 1024;

/// How much of the end of the aggregator's log is read for what it measures, in lines and in bytes.
const LIVE_LINES: i64 = 50;
const LIVE_LIMIT: i64 = 256 * 1024;

/// The end of an aggregator's log in which it has told what came of the test, in lines and in bytes.
const TOLD_LINES: i64 = 20;
const TOLD_LIMIT: i64 = 256 * 1024;

/// How long an aggregator that says how the test stands, and not what came of it, is waited for. One that operator 0.1
/// has made waits to be asked: what it says by then is the whole.
const LEFT_ALONE: SignedDuration = SignedDuration::from_secs(60);

/// As many Events of one Job are read. Kubernetes keeps about ten, and combines what comes after those.
const EVENTS_LIMIT: u32 = 50;

/// Looks at everything that matters to this run now.
#[tracing::instrument(skip_all)]
pub async fn observe(
    context: &Context,
    resource: &LoadTest,
    run: &Run,
    validated: &Result<ValidatedSpec, String>,
    now: Timestamp,
) -> Observed {
    let terms = validated
        .as_ref()
        .map(|validated| validated.terms.clone())
        .map_err(Clone::clone);
    let mut seen = Observed::unknown(resource.metadata.generation.unwrap_or_default(), terms);
    seen.deleting = resource.metadata.deletion_timestamp.is_some();
    let Spec {
        rerun,
        stop,
        cleanup,
        ttl_seconds_after_finished,
        ..
    } = &resource.spec;
    seen.rerun.clone_from(rerun);
    seen.stop = *stop;
    seen.retention = Retention {
        cleanup: *cleanup,
        ttl_seconds: *ttl_seconds_after_finished,
    };
    let uid = resource.uid().unwrap_or_default();
    let children = Children::cached(context, resource, &uid, (run.attempt, now));
    seen.former = children.former(context);
    seen.left = children.left(context, &run.state);
    let name = stem(&resource.name_any(), run.attempt);

    let runners = children.runners(context, &name, run).await;
    seen.starter = children.starter(context, &starter_name(&name), run).await;
    seen.runners = match (&run.state, &seen.starter) {
        // That they are others than the order names ends the run: caches do not suffice, which may be behind an
        // order that another process gave.
        (State::Starting(state), Fact::Absent) if !are_as_ordered(state, &runners) => {
            match Children::listed(context, resource, &uid, (run.attempt, now)).await {
                Ok(children) => Fact::Known(children.runners(context, &name, run).await),
                Err(error) => {
                    tracing::warn!(%error, "whether the runners are those of the order could not be read");
                    context.memory.unread(&uid);
                    Fact::Unknown
                }
            }
        }
        _ => Fact::Known(runners),
    };
    seen.stopper = children.program(context, &stopper_name(&name)).await;
    seen.refused = context.memory.refused(&uid);
    seen.initializer = children.initializer(context, run, &name).await;
    children.aggregation(context, &name, run, &mut seen, now).await;
    let needs_script = matches!(
        &run.state,
        State::Initializing(Initializing { accepted: Some(accepted) }) if !accepted.terms.suspended
    );
    if let (true, Fact::Absent, Ok(validated)) = (needs_script, &seen.initializer, validated) {
        seen.script = script(context, &uid, &children.namespace, &name, validated).await;
    }
    seen.pod_refused = children.pod_refused(context, &name, run, &seen).await;
    if overdue(&run.state, now) && seen.pod_refused.is_none() {
        seen.hint = children.hint(context, &name, run, &seen).await;
    }
    seen
}

/// The resource as the API server itself has it; None if it is gone.
pub async fn newest(context: &Context, resource: &LoadTest) -> Result<Option<LoadTest>, Error> {
    let namespace = resource.namespace().unwrap_or_default();
    let api: Api<LoadTest> = Api::namespaced_with(context.client.clone(), &namespace, &resource.kind);
    let found = bounded(api.get_opt(&resource.name_any())).await?;
    Ok(found
        .filter(|found| found.uid() == resource.uid())
        .map(|mut found| {
            slim_test(&mut found.metadata);
            context
                .memory
                .read(&found.uid().unwrap_or_default(), found.clone());
            found
        }))
}

/// All that a list has, slimmed page by page: 2,000 runners are 50 MB as the API server has them.
async fn in_pages<K>(api: &Api<K>, mut list: ListParams, slim: fn(&mut K)) -> Result<Vec<Arc<K>>, Error>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let mut all = Vec::new();
    loop {
        let page = bounded(api.list(&list)).await?;
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

struct Children {
    uid: String,
    namespace: String,
    /// The moment of this look.
    now: Timestamp,
    jobs: BTreeMap<String, Arc<Job>>,
    /// The Jobs of the runs before this one.
    former: Vec<Arc<Job>>,
    pods: Vec<Arc<Pod>>,
}

impl Children {
    fn of(
        resource: &LoadTest,
        uid: &str,
        (attempt, now): (u32, Timestamp),
        jobs: impl IntoIterator<Item = Arc<Job>>,
        pods: Vec<Arc<Pod>>,
    ) -> Self {
        let owned = |job: &Arc<Job>| job.owner_references().iter().any(|owner| owner.uid == uid);
        let attempt = attempt.to_string();
        let of_this_run = |job: &Arc<Job>| {
            job.labels()
                .get(ATTEMPT_LABEL)
                .is_none_or(|label| *label == attempt)
        };
        let (jobs, former): (Vec<_>, Vec<_>) = jobs.into_iter().filter(owned).partition(of_this_run);
        Self {
            uid: uid.to_owned(),
            namespace: resource.namespace().unwrap_or_default(),
            now,
            jobs: jobs.into_iter().map(|job| (job.name_any(), job)).collect(),
            former,
            pods,
        }
    }

    /// As the caches show them.
    fn cached(context: &Context, resource: &LoadTest, uid: &str, of: (u32, Timestamp)) -> Self {
        let owned = |job: &Job| job.owner_references().iter().any(|owner| owner.uid == uid);
        let of_it = |pod: &Pod| pod.labels().get(RUN_LABEL).is_some_and(|label| label == uid);
        let jobs = context.caches.jobs.state_filter(owned);
        let pods = context.caches.pods.state_filter(of_it);
        Self::of(resource, uid, of, jobs, pods)
    }

    /// As the API server itself has them.
    async fn listed(
        context: &Context,
        resource: &LoadTest,
        uid: &str,
        of: (u32, Timestamp),
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
        Ok(Self::of(resource, uid, of, jobs, pods))
    }

    /// The names of the Jobs of the runs before this one that nobody has deleted yet.
    fn former(&self, context: &Context) -> Vec<String> {
        self.staying(context, self.former.iter())
    }

    /// The Jobs of a run that has ended, but for those that bring its result.
    fn left(&self, context: &Context, state: &State) -> Left {
        const KEPT: [&str; 4] = ["initializer", "runner", "starter", "stopper"];
        let is_kept = |job: &&Arc<Job>| {
            let component = job.labels().get(COMPONENT_LABEL);
            component.is_some_and(|component| KEPT.contains(&component.as_str()))
        };
        let jobs = match state {
            State::Finished(_) => self.staying(context, self.jobs.values().filter(is_kept)),
            State::Initializing(_)
            | State::Created(_)
            | State::Starting(_)
            | State::Started(_)
            | State::Stopping(_) => Vec::new(),
        };
        Left {
            keep_seconds: context.keep_jobs_seconds,
            jobs,
        }
    }

    /// The names of those of these Jobs that nobody has deleted yet.
    fn staying<'a>(&self, context: &Context, jobs: impl Iterator<Item = &'a Arc<Job>>) -> Vec<String> {
        let leaving = |job: &Arc<Job>| {
            job.metadata.deletion_timestamp.is_some()
                || job
                    .uid()
                    .is_some_and(|job_uid| context.memory.is_deleted(&self.uid, &job_uid))
        };
        let staying = jobs.filter(|job| !leaving(job));
        staying.map(|job| job.name_any()).collect()
    }

    /// A Job by name, as the cache shows it, corrected by what was done from here.
    fn job(&self, context: &Context, name: &str) -> Fact<&Job> {
        match self.jobs.get(name) {
            Some(job) => {
                context.memory.seen(&self.uid, name);
                let deleted = job
                    .uid()
                    .is_some_and(|job_uid| context.memory.is_deleted(&self.uid, &job_uid));
                if deleted { Fact::Unknown } else { Fact::Known(job) }
            }
            None if context.memory.is_made(&self.uid, name) => Fact::Unknown,
            None => Fact::Absent,
        }
    }

    /// A Job by name, whose absence decides something that can't be undone: then a cache does not suffice, which
    /// may be behind the resource by any time.
    async fn job_for_certain(&self, context: &Context, name: &str, decides: bool) -> Fact<&Job> {
        let found = self.job(context, name);
        if !decides || found != Fact::Absent || context.memory.is_gone(&self.uid, name) {
            return found;
        }
        let api: Api<Job> = Api::namespaced(context.client.clone(), &self.namespace);
        match bounded(api.get_metadata_opt(name)).await {
            Ok(Some(job)) if job.owner_references().iter().any(|owner| owner.uid == self.uid) => {
                Fact::Unknown
            }
            Ok(Some(_) | None) => {
                context.memory.gone(&self.uid, name);
                Fact::Absent
            }
            Err(error) => {
                tracing::warn!(%error, name, "whether the Job is there could not be read");
                context.memory.unread(&self.uid);
                Fact::Unknown
            }
        }
    }

    async fn runners(&self, context: &Context, name: &str, run: &Run) -> BTreeMap<u32, Runner> {
        let is_runner = |job: &&Arc<Job>| {
            job.labels()
                .get(COMPONENT_LABEL)
                .is_some_and(|component| component == "runner")
        };
        let ended_decides = !matches!(run.state, State::Finished(_));
        let mut runners: BTreeMap<u32, Runner> = BTreeMap::new();
        for job in self.jobs.values().filter(is_runner) {
            let number = job.labels().get(RUNNER_LABEL).and_then(|text| text.parse().ok());
            if let Some(number) = number {
                let runner = match self.pod_for_certain(context, job, ended_decides).await {
                    Fact::Known(pod) => pods::runner(job, Some(&pod), self.now),
                    Fact::Absent => pods::runner(job, None, self.now),
                    Fact::Unknown => Runner::default(),
                };
                runners.insert(number, runner);
            }
        }
        for i in 1..=run.plan.as_ref().map_or(0, |plan| plan.parallelism) {
            // Before the start, one that is missing is made, which finds out.
            let decides = matches!(
                run.state,
                State::Starting(_) | State::Started(_) | State::Stopping(_)
            );
            match self
                .job_for_certain(context, &runner_name(name, i), decides)
                .await
            {
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

    /// The pod of a Job. That one which has ended has none decides how it ended: then a cache does not suffice,
    /// which may be behind that of the Jobs by any time.
    async fn pod_for_certain(&self, context: &Context, job: &Job, decides: bool) -> Fact<Arc<Pod>> {
        if let Some(pod) = pods::pod_of(job, &self.pods) {
            return Fact::Known(Arc::clone(pod));
        }
        let job_uid = job.uid().unwrap_or_default();
        if !decides || pods::job_end(job).is_none() || context.memory.is_gone(&self.uid, &job_uid) {
            return Fact::Absent;
        }
        let found = self.listed_pod(context, job).await;
        if found == Fact::Absent {
            context.memory.gone(&self.uid, &job_uid);
        }
        found
    }

    /// The pod of a Job, as the API server itself has it.
    async fn listed_pod(&self, context: &Context, job: &Job) -> Fact<Arc<Pod>> {
        let labels = [RUN_LABEL, COMPONENT_LABEL, RUNNER_LABEL];
        let labels = labels.into_iter().filter_map(|label| {
            let value = job.labels().get(label)?;
            Some(format!("{label}={value}"))
        });
        let parameters = ListParams::default().labels(&labels.collect::<Vec<_>>().join(","));
        let api: Api<Pod> = Api::namespaced(context.client.clone(), &self.namespace);
        match bounded(api.list(&parameters)).await {
            Ok(found) => {
                let found: Vec<_> = found.items.into_iter().map(Arc::new).collect();
                pods::pod_of(job, &found).map_or(Fact::Absent, |pod| Fact::Known(Arc::clone(pod)))
            }
            Err(error) => {
                tracing::warn!(%error, job = job.name_any(), "whether its pod is there could not be read");
                context.memory.unread(&self.uid);
                Fact::Unknown
            }
        }
    }

    async fn program(&self, context: &Context, name: &str) -> Fact<Program> {
        self.program_of(context, self.job(context, name)).await
    }

    async fn starter(&self, context: &Context, name: &str, run: &Run) -> Fact<Program> {
        let decides = matches!(run.state, State::Starting(_) | State::Stopping(_));
        let job = self.job_for_certain(context, name, decides).await;
        self.program_of(context, job).await
    }

    async fn program_of(&self, context: &Context, job: Fact<&Job>) -> Fact<Program> {
        match job {
            Fact::Known(job) => Fact::Known(match self.pod_for_certain(context, job, true).await {
                Fact::Known(pod) => pods::program(job, Some(&pod)),
                Fact::Absent => pods::program(job, None),
                Fact::Unknown => Program::Running(None),
            }),
            Fact::Absent => Fact::Absent,
            Fact::Unknown => Fact::Known(Program::Running(None)),
        }
    }

    /// All that merges the metrics of the runners and brings the result, as far as the state needs it.
    async fn aggregation(
        &self,
        context: &Context,
        stem: &str,
        run: &Run,
        seen: &mut Observed,
        now: Timestamp,
    ) {
        let aggregator = aggregator_name(stem);
        let aggregated = run.plan.as_ref().is_some_and(|plan| plan.aggregation.is_some());
        let ended = run.state.awaits_result().is_some();
        // Runners are told its address.
        let told = matches!((&run.state, &seen.runners),
            (State::Created(_), Fact::Known(runners)) if !runners.is_empty());
        let job = self
            .job_for_certain(context, &aggregator, aggregated && (ended || told))
            .await;
        seen.aggregator = match &job {
            Fact::Known(job) => match self.pod_for_certain(context, job, aggregated).await {
                Fact::Known(pod) => Fact::Known(pods::aggregator(job, Some(&pod))),
                Fact::Absent => Fact::Known(pods::aggregator(job, None)),
                Fact::Unknown => Fact::Unknown,
            },
            Fact::Absent => Fact::Absent,
            Fact::Unknown => Fact::Unknown,
        };
        let runners_missing = match (&run.state, &seen.runners) {
            (State::Created(state), Fact::Known(runners)) => {
                (1..=state.plan.parallelism).any(|i| !runners.contains_key(&i))
            }
            _ => false,
        };
        if let (true, true, Fact::Known(_)) = (aggregated, runners_missing, &seen.aggregator) {
            seen.address = self.address(context, stem).await;
        }
        let runs = matches!(run.state, State::Started(Started { ended: None, .. }));
        if let (true, true, Fact::Known(aggregator)) = (aggregated, runs, &seen.aggregator)
            && aggregator.is_ready()
        {
            seen.live = self.live(context, &job, run.attempt).await;
        }
        if let (true, Some(since)) = (aggregated, run.state.awaits_result()) {
            if let Some(outcome) = context.memory.kept_result(&self.uid, run.attempt) {
                seen.result = Fact::Known(Box::new(outcome));
                seen.summary = Fact::Known(());
                return;
            }
            let waited = now.duration_since(since);
            seen.result = self.result(context, job, waited).await;
            if matches!(seen.result, Fact::Known(_)) {
                seen.summary = self.summary(context, &summary_name(stem)).await;
            }
        }
    }

    /// What came of the test, as the aggregator tells it in its log, or has left it in its termination message.
    async fn result(&self, context: &Context, job: Fact<&Job>, waited: SignedDuration) -> Fact<Box<Outcome>> {
        let job = match job {
            Fact::Known(job) => job,
            Fact::Absent => return Fact::Absent,
            Fact::Unknown => return Fact::Unknown,
        };
        let Some(pod) = pods::pod_of(job, &self.pods) else {
            return Fact::Absent;
        };
        if let Some(outcome) = pods::left_outcome(pod) {
            return Fact::Known(Box::new(outcome));
        }
        let api: Api<Pod> = Api::namespaced(context.client.clone(), &self.namespace);
        let last = LogParams {
            container: Some(AGGREGATE.to_owned()),
            tail_lines: Some(TOLD_LINES),
            limit_bytes: Some(TOLD_LIMIT),
            ..LogParams::default()
        };
        let told = match bounded(api.logs(&pod.name_any(), &last)).await {
            Ok(log) => Told::of(&log),
            Err(error) => {
                tracing::warn!(%error, "the aggregator's log could not be read");
                Told::Nothing
            }
        };
        match told {
            Told::Final(outcome) => Fact::Known(Box::new(outcome)),
            Told::SoFar(outcome) if waited >= LEFT_ALONE => Fact::Known(Box::new(outcome)),
            Told::SoFar(_) | Told::Nothing => {
                context.memory.unread(&self.uid);
                Fact::Absent
            }
        }
    }

    /// What the aggregator said last of what is measured. It is no fact that anything is decided by.
    async fn live(&self, context: &Context, job: &Fact<&Job>, attempt: u32) -> Option<Outcome> {
        if let Some(outcome) = context.memory.live(&self.uid, attempt) {
            return outcome;
        }
        let Fact::Known(job) = job else {
            return None;
        };
        let pod = pods::pod_of(job, &self.pods)?;
        let api: Api<Pod> = Api::namespaced(context.client.clone(), &self.namespace);
        let last = LogParams {
            container: Some(AGGREGATE.to_owned()),
            tail_lines: Some(LIVE_LINES),
            limit_bytes: Some(LIVE_LIMIT),
            ..LogParams::default()
        };
        let outcome = match bounded(api.logs(&pod.name_any(), &last)).await {
            // Between the lines of what is measured are those in which it warns.
            Ok(lines) => lines
                .lines()
                .rev()
                .find_map(|line| serde_json::from_str(line).ok()),
            Err(error) => {
                tracing::debug!(%error, "the aggregator's log could not be read");
                None
            }
        };
        context.memory.looked(&self.uid, attempt, outcome.clone());
        outcome
    }

    /// Where the Service of the aggregator is.
    async fn address(&self, context: &Context, stem: &str) -> Fact<String> {
        let api: Api<Service> = Api::namespaced(context.client.clone(), &self.namespace);
        let job = self.jobs.get(&aggregator_name(stem)).and_then(|job| job.uid());
        let name = service_name(stem);
        match bounded(api.get_opt(&name)).await {
            Ok(Some(service)) => {
                let owners = service.owner_references();
                let ours = owners.iter().any(|owner| Some(&owner.uid) == job.as_ref());
                let address = service.spec.and_then(|spec| spec.cluster_ip).filter(|_| ours);
                match address.filter(|ip| !ip.is_empty()) {
                    Some(ip) if ip.contains(':') => Fact::Known(format!("[{ip}]:{AGGREGATOR_PORT}")),
                    Some(ip) => Fact::Known(format!("{ip}:{AGGREGATOR_PORT}")),
                    // A stranger's is found out by whoever makes ours.
                    None => Fact::Absent,
                }
            }
            Ok(None) => Fact::Absent,
            Err(error) => {
                tracing::warn!(%error, name, "the Service could not be read");
                context.memory.unread(&self.uid);
                Fact::Unknown
            }
        }
    }

    async fn summary(&self, context: &Context, name: &str) -> Fact<()> {
        let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &self.namespace);
        match bounded(api.get_metadata_opt(name)).await {
            Ok(Some(map)) if map.owner_references().iter().any(|owner| owner.uid == self.uid) => {
                Fact::Known(())
            }
            Ok(Some(_) | None) => Fact::Absent,
            Err(error) => {
                tracing::warn!(%error, name, "whether the summary is kept could not be read");
                context.memory.unread(&self.uid);
                Fact::Unknown
            }
        }
    }

    async fn initializer(&self, context: &Context, run: &Run, stem: &str) -> Fact<Initializer> {
        let job = match self.job(context, &initializer_name(stem)) {
            Fact::Known(job) => job,
            Fact::Absent => return Fact::Absent,
            Fact::Unknown => return Fact::Unknown,
        };
        if let State::Initializing(Initializing {
            accepted: Some(accepted),
        }) = &run.state
            && job.annotations().get(GENERATION_ANNOTATION) != Some(&accepted.generation.to_string())
        {
            return Fact::Known(Initializer::Outdated);
        }
        let aggregator = match self.job(context, &aggregator_name(stem)) {
            Fact::Known(_) => Fact::Known(()),
            Fact::Absent => Fact::Absent,
            Fact::Unknown => Fact::Unknown,
        };
        // What k6 said is read for the plan, and once more for an aggregator that is not created yet. The Job stays
        // after that, and nothing more is asked of it.
        let decides = match &run.state {
            State::Initializing(_) => true,
            State::Created(state) => state.plan.aggregation.is_some() && aggregator == Fact::Absent,
            State::Starting(_) | State::Started(_) | State::Stopping(_) | State::Finished(_) => false,
        };
        let pod = match self.pod_for_certain(context, job, decides).await {
            Fact::Known(pod) => Some(pod),
            Fact::Absent => None,
            Fact::Unknown => return Fact::Unknown,
        };
        match pods::initializer(job, pod.as_deref()) {
            InitializerPod::Running(why) => Fact::Known(Initializer::Running(why)),
            InitializerPod::Failed(why) => Fact::Known(Initializer::Failed(why)),
            InitializerPod::Aborted(why) => Fact::Known(Initializer::Aborted(why)),
            InitializerPod::Lost(why) => Fact::Known(Initializer::Lost(why)),
            InitializerPod::Done(inspected) => match pod {
                Some(pod) if decides => self.inspection(context, &pod, &inspected).await,
                Some(_) | None => Fact::Known(Initializer::Done),
            },
        }
    }

    async fn inspection(&self, context: &Context, pod: &Pod, inspected: &Inspected) -> Fact<Initializer> {
        let api: Api<Pod> = Api::namespaced(context.client.clone(), &self.namespace);
        let parameters = LogParams {
            container: Some(objects::INSPECT.to_owned()),
            limit_bytes: Some(INSPECTION_LIMIT),
            ..LogParams::default()
        };
        match bounded(api.logs(&pod.name_any(), &parameters)).await {
            Ok(text) => {
                let inspection = Inspection::parse(&text);
                let inspection = inspection.map(|inspection| inspection.by(inspected.version()));
                Fact::Known(Initializer::Succeeded(inspection))
            }
            Err(error) => {
                tracing::warn!(%error, "the initializer's log could not be read");
                context.memory.unread(&self.uid);
                Fact::Unknown
            }
        }
    }

    /// Why a Job that is waited for has no pod, if Kubernetes has said so. It is asked only of a Job that has been
    /// without one for seconds, and of one Job at a time: its Events are all that tells it.
    async fn pod_refused(
        &self,
        context: &Context,
        stem: &str,
        run: &Run,
        seen: &Observed,
    ) -> Option<PodRefusal> {
        let Some((part, job)) = self.without_pod(context, stem, run, seen) else {
            context.memory.has_pods(&self.uid);
            return None;
        };
        let job_uid = job.uid().unwrap_or_default();
        let before = match context.memory.podless(&self.uid, &job_uid) {
            Why::Known(found) => return found,
            Why::Ask(before) => before,
        };
        let api: Api<Event> = Api::namespaced(context.client.clone(), &self.namespace);
        let failed = format!("involvedObject.uid={job_uid},reason=FailedCreate");
        let parameters = ListParams::default().fields(&failed).limit(EVENTS_LIMIT);
        let found = match bounded(api.list(&parameters)).await {
            Ok(events) => pods::pod_refusal(part, &events.items),
            Err(error) => {
                tracing::warn!(%error, job = job.name_any(), "why the Job has no pod could not be read");
                before.clone()
            }
        };
        // A refusal that ends the run is confirmed: the pod may have been created since, and not be in the cache yet.
        let found = match found {
            Some(refusal) if refusal.is_final() => match self.listed_pod(context, job).await {
                Fact::Absent => Some(refusal),
                Fact::Known(_) => None,
                Fact::Unknown => before.filter(|before| !before.is_final()),
            },
            Some(_) | None => found,
        };
        context.memory.answered(&self.uid, found.clone());
        found
    }

    /// The first Job without a pod of those that this state waits for.
    fn without_pod(&self, context: &Context, stem: &str, run: &Run, seen: &Observed) -> Option<(Part, &Job)> {
        let wanted: Vec<Part> = match &run.state {
            state if state.awaits_result().is_some() => vec![Part::Aggregator],
            State::Initializing(_) => vec![Part::Initializer],
            State::Created(_) => {
                let runners = match &seen.runners {
                    Fact::Known(runners) => Some(runners),
                    Fact::Absent | Fact::Unknown => None,
                };
                let podless = |(_, runner): &(&u32, &Runner)| runner.pod.is_none() && runner.end.is_none();
                let first = runners.into_iter().flatten().find(podless);
                let runner = first.map(|(i, _)| Part::Runner(*i));
                [Part::Aggregator].into_iter().chain(runner).collect()
            }
            State::Starting(_) => vec![Part::Starter],
            State::Started(_) => vec![Part::Aggregator],
            State::Stopping(_) => vec![Part::Stopper],
            State::Finished(_) => Vec::new(),
        };
        wanted.into_iter().find_map(|part| {
            let job = self.jobs.get(&part.name(stem))?;
            let goes_on = pods::job_end(job).is_none();
            let leaving = job.metadata.deletion_timestamp.is_some()
                || context
                    .memory
                    .is_deleted(&self.uid, &job.uid().unwrap_or_default());
            let podless = pods::pod_of(job, &self.pods).is_none() && goes_on && !leaving;
            podless.then_some((part, &**job))
        })
    }

    /// What Kubernetes' own events say of the object that is waited for.
    async fn hint(&self, context: &Context, name: &str, run: &Run, seen: &Observed) -> Option<String> {
        let job = match &run.state {
            state if state.awaits_result().is_some() => aggregator_name(name),
            State::Initializing(_) => initializer_name(name),
            State::Created(state) => {
                let runners = self.runners(context, name, run).await;
                if matches!(&seen.aggregator, Fact::Known(aggregator) if !aggregator.is_ready()) {
                    return self.hint_of(context, aggregator_name(name)).await;
                }
                let unready = |i: &u32| !runners.get(i).is_some_and(Runner::is_ready);
                runner_name(name, (1..=state.plan.parallelism).find(unready)?)
            }
            State::Starting(_) => starter_name(name),
            State::Started(_) | State::Stopping(_) | State::Finished(_) => return None,
        };
        self.hint_of(context, job).await
    }

    async fn hint_of(&self, context: &Context, job: String) -> Option<String> {
        let job = self.jobs.get(&job)?;
        let metadata = match pods::pod_of(job, &self.pods) {
            Some(pod) => &pod.metadata,
            None => &job.metadata,
        };
        // By its UID: the Events of a former object of this name may be there still.
        let (object, object_uid) = (metadata.name.clone()?, metadata.uid.as_deref()?);
        let api: Api<Event> = Api::namespaced(context.client.clone(), &self.namespace);
        let parameters =
            ListParams::default().fields(&format!("involvedObject.uid={object_uid},type=Warning"));
        let events = bounded(api.list(&parameters)).await.ok()?.items;
        let last = events.into_iter().max_by_key(|event| {
            // The kubelet says what went wrong, and then `Error: ErrImagePull` and the like.
            let vague = event
                .message
                .as_deref()
                .is_none_or(|text| text.starts_with("Error: "));
            (!vague, event.metadata.creation_timestamp.clone())
        })?;
        let reason = last.reason.unwrap_or_default();
        Some(format!(
            "{object}: {reason}: {}",
            last.message.unwrap_or_default()
        ))
    }
}

/// Whether the script is there. What is in a volume or in an image only a pod can see.
async fn script(
    context: &Context,
    uid: &str,
    namespace: &str,
    stem: &str,
    validated: &ValidatedSpec,
) -> Fact<Result<(), String>> {
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
    let (name, file) = match &validated.script {
        Script::VolumeClaim { .. } | Script::LocalFile(_) => return Fact::Known(Ok(())),
        Script::ConfigMap { name, file } => (name.clone(), Some(file)),
        Script::Inline(text) => (script_name(stem, text), None),
    };
    match (bounded(api.get_opt(&name)).await, file) {
        (Ok(Some(map)), Some(file)) => Fact::Known(has(&map, &name, file)),
        (Ok(Some(map)), None) if map.owner_references().iter().any(|owner| owner.uid == uid) => {
            Fact::Known(Ok(()))
        }
        (Ok(None), Some(_)) => Fact::Known(Err(format!(
            "there is no ConfigMap {name} in namespace {namespace}; create it, and then set spec.rerun to any new text"
        ))),
        // A stranger's is found out by whoever makes ours.
        (Ok(Some(_) | None), None) => Fact::Absent,
        (Err(error), _) => {
            tracing::warn!(%error, name, "the script's ConfigMap could not be read");
            context.memory.unread(uid);
            Fact::Unknown
        }
    }
}

fn has(map: &ConfigMap, name: &str, file: &str) -> Result<(), String> {
    let text = map.data.iter().flat_map(BTreeMap::keys);
    let binary = map.binary_data.iter().flat_map(BTreeMap::keys);
    let keys: Vec<&str> = text.chain(binary).map(String::as_str).collect();
    if keys.contains(&file) {
        return Ok(());
    }
    let keys: Vec<&str> = keys.into_iter().take(10).collect();
    Err(format!(
        "ConfigMap {name} has no key {file} (it has: {}); add it, or set spec.script.configMap.file, and then set \
         spec.rerun to any new text",
        keys.join(", ")
    ))
}
