//! The Secret with a run's tokens, and how its pods get them.

use super::names;
use super::pod::Owner;
use super::volumes::{empty, mount};
use crate::protocol::tokens::{AGGREGATOR, AGGREGATOR_HASH, RUNNERS, RUNNERS_HASH, Tokens, VARIABLES};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, KeyToPath, PodSpec, Secret, SecretKeySelector,
    SecretVolumeSource, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The volume of the Secret, in pods that run no script.
const SECRET_VOLUME: &str = "k6-operator-secret";
const SECRET_FOLDER: &str = "/k6-operator-secret";

/// The volume for a runner's copy of its keys, which the runner deletes when it has read them.
const COPY_VOLUME: &str = "k6-operator-tokens";
pub(super) const COPY_FOLDER: &str = "/k6-operator-tokens";

/// The key for the starter and the stopper: their token for the port of the runners.
pub(super) const OF_STARTER: &str = RUNNERS;
/// The key for the aggregator: the hash of the token that runners send it.
pub(super) const OF_AGGREGATOR: &str = AGGREGATOR_HASH;
/// The keys for a runner: its token for the aggregator, and the hash of the token that the starter and the stopper send
/// it.
const OF_RUNNER: [&str; 2] = [AGGREGATOR, RUNNERS_HASH];

/// The Secret with the tokens of a run. Its name contains the UID of the resource, so the Secret of a deleted resource
/// or of a former run is never taken for it.
pub fn tokens(owner: &Owner, tokens: &Tokens) -> Secret {
    let hashes = [tokens.aggregator.hash(), tokens.runners.hash()].map(|hash| hash.to_string());
    let data = [
        (AGGREGATOR, tokens.aggregator.text()),
        (AGGREGATOR_HASH, hashes[0].as_str()),
        (RUNNERS, tokens.runners.text()),
        (RUNNERS_HASH, hashes[1].as_str()),
    ];
    let data = data.map(|(key, text)| (key.to_owned(), ByteString(text.as_bytes().to_vec())));
    Secret {
        metadata: owner.metadata(names::tokens_name(&owner.stem(), &owner.uid), "tokens"),
        data: Some(data.into()),
        immutable: Some(true),
        ..Secret::default()
    }
}

/// Mounts one key of the Secret into a container that runs no script, and returns its path.
pub(super) fn mounted(pod: &mut PodSpec, container: &mut Container, owner: &Owner, key: &str) -> String {
    pod.volumes.get_or_insert_default().push(secret(owner, &[key]));
    let mount = mount(SECRET_VOLUME, SECRET_FOLDER, true);
    container.volume_mounts.get_or_insert_default().push(mount);
    format!("{SECRET_FOLDER}/{key}")
}

/// Lets the container `copying`, which runs before `runner`, copy the keys of a runner to a volume from which the
/// runner can delete them: a script could read a Secret that is mounted.
pub(super) fn handed_over(pod: &mut PodSpec, copying: &mut Container, runner: &mut Container, owner: &Owner) {
    let in_memory = EmptyDirVolumeSource {
        medium: Some("Memory".to_owned()),
        size_limit: Some(Quantity("1Mi".to_owned())),
    };
    let volumes = pod.volumes.get_or_insert_default();
    volumes.extend([secret(owner, &OF_RUNNER), empty(COPY_VOLUME, in_memory)]);
    let words = copying.args.get_or_insert_default();
    words.push(format!("--files={SECRET_FOLDER}"));
    words.push(format!("--into={COPY_FOLDER}"));
    let mounts = copying.volume_mounts.get_or_insert_default();
    mounts.push(mount(SECRET_VOLUME, SECRET_FOLDER, true));
    mounts.push(mount(COPY_VOLUME, COPY_FOLDER, false));
    let mounts = runner.volume_mounts.get_or_insert_default();
    mounts.push(mount(COPY_VOLUME, COPY_FOLDER, false));
}

/// The variables with the keys of a runner, where nothing runs before it that could copy them. `linger` takes them out of
/// the environment of each process that it starts, and closes its own to them.
pub(super) fn in_variables(owner: &Owner) -> Vec<EnvVar> {
    let secret = names::tokens_name(&owner.stem(), &owner.uid);
    let variable = |(name, key): (&str, &str)| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.clone(),
                key: key.to_owned(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    VARIABLES.into_iter().zip(OF_RUNNER).map(variable).collect()
}

fn secret(owner: &Owner, keys: &[&str]) -> Volume {
    let items = keys.iter().map(|key| KeyToPath {
        key: (*key).to_owned(),
        path: (*key).to_owned(),
        mode: None,
    });
    Volume {
        name: SECRET_VOLUME.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(names::tokens_name(&owner.stem(), &owner.uid)),
            items: Some(items.collect()),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::api::{Kind, Spec};
    use crate::machine::Target;
    use crate::objects::{Common, Defaults, ValidatedRun, aggregator, runner, starter, stopper, validate};
    use k8s_openapi::api::batch::v1::Job;
    use std::collections::BTreeMap;

    fn owner(uid: &str, attempt: u32) -> Owner {
        Owner {
            kind: Kind::K6,
            name: "load".to_owned(),
            namespace: "team-a".to_owned(),
            uid: uid.to_owned(),
            generation: 1,
            attempt,
        }
    }

    fn jobs(program: &str) -> BTreeMap<&'static str, Job> {
        let spec: Spec =
            serde_json::from_value(serde_json::json!({"parallelism": 2, "script": "s"})).unwrap();
        let defaults = Defaults {
            runner_image: "grafana/k6:2.2.0".to_owned(),
            starter_image: "operator:dev".to_owned(),
            common: Common::default(),
        };
        let aggregation = serde_json::json!({"output": "opentelemetry", "k6Version": "2.2.0"});
        let plan = serde_json::json!({"parallelism": 2, "aggregation": aggregation, "program": program});
        let run = ValidatedRun {
            owner: owner("u-1", 1),
            spec: validate(&spec, &defaults).unwrap(),
            plan: Some(serde_json::from_value(plan).unwrap()),
        };
        let targets = [Target {
            runner: 1,
            ip: "10.0.0.7".to_owned(),
        }];
        BTreeMap::from([
            ("runner", runner(&run, (1, 2), Some("10.96.0.9:4318"))),
            ("starter", starter(&run, &targets)),
            ("stopper", stopper(&run, &targets)),
            ("aggregator", aggregator(&run, "{}")),
        ])
    }

    #[test]
    fn each_part_is_given_what_it_shows_or_checks_and_nothing_else() {
        let jobs = jobs("copied");
        for (part, keys) in [
            ("runner", vec![AGGREGATOR, RUNNERS_HASH]),
            ("starter", vec![RUNNERS]),
            ("stopper", vec![RUNNERS]),
            ("aggregator", vec![AGGREGATOR_HASH]),
        ] {
            let pod = jobs[part].spec.clone().unwrap().template.spec.unwrap();
            let secrets = pod
                .volumes
                .iter()
                .flatten()
                .filter_map(|volume| volume.secret.as_ref());
            let items = secrets.flat_map(|secret| secret.items.iter().flatten());
            let items: Vec<_> = items.map(|item| item.key.clone()).collect();
            assert_eq!(items, keys, "{part}");
        }
    }

    fn runner_of(program: &str) -> PodSpec {
        let job = jobs(program).remove("runner").unwrap();
        job.spec.unwrap().template.spec.unwrap()
    }

    #[test]
    fn secret_is_not_mounted_where_a_script_runs() {
        let pod = runner_of("copied");
        let mounts = |container: &Container| -> Vec<String> {
            let mounts = container.volume_mounts.iter().flatten();
            mounts.map(|mount| mount.name.clone()).collect()
        };
        assert!(!mounts(&pod.containers[0]).contains(&SECRET_VOLUME.to_owned()));
        assert!(mounts(&pod.init_containers.unwrap()[0]).contains(&SECRET_VOLUME.to_owned()));
    }

    #[test]
    fn each_run_of_each_resource_has_a_secret_of_its_own_name_that_cannot_be_changed() {
        let all = [owner("u-1", 1), owner("u-1", 2), owner("u-2", 1)];
        let all = all.map(|owner| tokens(&owner, &Tokens::random().unwrap()));
        let names: std::collections::BTreeSet<_> =
            all.iter().map(|secret| secret.metadata.name.clone()).collect();
        assert_eq!(names.len(), 3);
        for secret in &all {
            assert_eq!(secret.immutable, Some(true));
            assert_eq!(secret.metadata.owner_references.iter().flatten().count(), 1);
        }
    }

    #[test]
    fn tokens_are_in_no_word_of_a_pod_and_in_no_variable_that_a_script_could_have() {
        for (part, job) in jobs("copied").into_iter().chain(jobs("mounted")) {
            let pod = job.spec.unwrap().template.spec.unwrap();
            for container in pod.containers.iter().chain(pod.init_containers.iter().flatten()) {
                let words = container.command.iter().chain(&container.args).flatten();
                assert!(words.clone().all(|word| !word.contains("Bearer")), "{part}");
                let mut variables = container.env.iter().flatten();
                let from_secret = |variable: &EnvVar| {
                    let source = variable.value_from.as_ref();
                    let is_taken_out = VARIABLES.contains(&variable.name.as_str());
                    !is_taken_out && source.is_some_and(|source| source.secret_key_ref.is_some())
                };
                assert!(!variables.any(from_secret), "{part}");
            }
        }
    }

    #[test]
    fn runner_without_an_init_container_has_its_two_keys_in_variables_and_no_secret_volume() {
        let pod = runner_of("mounted");
        let secrets = |pod: &PodSpec| pod.volumes.iter().flatten().any(|volume| volume.secret.is_some());
        assert!(pod.init_containers.is_none() && !secrets(&pod));
        let env = pod.containers[0].env.clone().unwrap();
        let key = |variable: &EnvVar| {
            let source = variable.value_from.as_ref()?.secret_key_ref.as_ref()?;
            Some((variable.name.clone(), source.name.clone(), source.key.clone()))
        };
        let name = names::tokens_name("load", "u-1");
        let expected = VARIABLES.into_iter().zip(OF_RUNNER);
        let expected: Vec<_> = expected
            .map(|(variable, key)| (variable.to_owned(), name.clone(), key.to_owned()))
            .collect();
        assert_eq!(env.iter().filter_map(key).collect::<Vec<_>>(), expected);
        let words = pod.containers[0].command.clone().unwrap();
        assert!(words.contains(&"--tokens=env".to_owned()), "{words:?}");
    }
}
