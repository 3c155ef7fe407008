//! Carries out Jobs on this machine: their commands, with what would be other places in a pod.

use crate::k6::k6_binary;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, PodSpec, Secret};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::{Child, Command};

/// The pod of a Job.
pub struct Pod {
    spec: PodSpec,
    folder: PathBuf,
    /// More of the environment, as the kubelet or the user's image would have it.
    environment: BTreeMap<String, String>,
    /// What the commands have in place of what they say.
    replaced: Vec<(String, String)>,
    /// What they have behind all that they say.
    more: Vec<String>,
    /// What they have behind the name of the operator's program.
    asks: Option<String>,
}

impl Pod {
    /// Its files are in a folder of this name.
    pub fn of(name: &str, job: Job, folder: &Path) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let spec = job.spec.unwrap().template.spec.unwrap();
        for volume in spec.volumes.iter().flatten() {
            std::fs::create_dir_all(folder.join(&volume.name)).unwrap();
        }
        Self {
            spec,
            folder,
            environment: BTreeMap::new(),
            replaced: Vec::new(),
            more: Vec::new(),
            asks: None,
        }
    }

    /// What of a Secret the kubelet would mount, and of that what a container that only copies would.
    pub fn mounting(self, secret: &Secret) -> Self {
        let mut items = Vec::new();
        for volume in self.spec.volumes.iter().flatten() {
            let Some(source) = &volume.secret else { continue };
            assert_eq!(source.secret_name, secret.metadata.name);
            for item in source.items.iter().flatten() {
                let value = secret.data.as_ref().unwrap()[&item.key].0.clone();
                std::fs::write(self.folder.join(&volume.name).join(&item.path), &value).unwrap();
                items.push((item.path.clone(), value));
            }
        }
        for (path, value) in items {
            let copies = self.folder.join("k6-operator-tokens");
            if copies.is_dir() {
                std::fs::write(copies.join(path), value).unwrap();
            }
        }
        self
    }

    pub fn with(mut self, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment.extend(environment);
        self
    }

    /// In place of one text in the commands, another.
    pub fn replacing(mut self, text: &str, by: &str) -> Self {
        self.replaced.push((text.to_owned(), by.to_owned()));
        self
    }

    /// Its program listens here, in place of its port on all addresses.
    pub fn listening(mut self, address: &str) -> Self {
        self.more.push(format!("--listen={address}"));
        self
    }

    /// The k6 that its program looks after has its API here.
    pub fn asking(mut self, address: &str) -> Self {
        self.asks = Some(format!("--api={address}"));
        self
    }

    /// The names of its containers, in the order in which they run; what only copies the program is left out.
    pub fn containers(&self) -> Vec<String> {
        let all = self
            .spec
            .init_containers
            .iter()
            .flatten()
            .chain(&self.spec.containers);
        let names = all.map(|container| container.name.clone());
        names.filter(|name| name != "copy").collect()
    }

    fn container(&self, name: &str) -> &Container {
        let mut all = self
            .spec
            .init_containers
            .iter()
            .flatten()
            .chain(&self.spec.containers);
        all.find(|container| container.name == name).unwrap()
    }

    /// Where a container's streams go, both to one place as in a pod.
    pub fn log(&self, container: &str) -> String {
        let log = std::fs::read(self.folder.join(format!("{container}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Its termination message.
    pub fn message(&self, container: &str) -> String {
        std::fs::read_to_string(self.termination_log(container)).unwrap_or_default()
    }

    fn termination_log(&self, container: &str) -> PathBuf {
        self.folder.join(format!("{container}.message"))
    }

    /// Begins a container.
    pub fn begin(&self, name: &str) -> Child {
        let container = self.container(name);
        let words = container
            .command
            .iter()
            .flatten()
            .chain(container.args.iter().flatten());
        let mut environment = self.environment.clone();
        for variable in container.env.iter().flatten() {
            // Those of fields of the pod are told from outside.
            if let Some(value) = &variable.value {
                environment.insert(variable.name.clone(), expanded(value, &environment));
            }
        }
        let mounts = container.volume_mounts.iter().flatten();
        let mounts: Vec<(String, String)> = mounts
            .map(|mount| {
                let place = self.folder.join(&mount.name);
                std::fs::create_dir_all(&place).unwrap();
                (mount.mount_path.clone(), place.to_string_lossy().into_owned())
            })
            .collect();
        let local = |word: &str| {
            let mut word = word.to_owned();
            for (from, to) in self.replaced.iter().chain(&mounts) {
                word = word.replace(from.as_str(), to);
            }
            word
        };
        let words = words.map(|word| {
            let program = word.ends_with("/k6-operator");
            match word.as_str() {
                "k6" => k6_binary().to_string_lossy().into_owned(),
                _ if program => env!("CARGO_BIN_EXE_k6-operator").to_owned(),
                word => local(&expanded(word, &environment)),
            }
        });
        let mut words: Vec<String> = words.collect();
        // The first word behind the program's name.
        let ours = words.get(1).cloned().unwrap_or_default();
        if matches!(ours.as_str(), "start" | "stop" | "aggregate" | "inspect") {
            let message = self.termination_log(name);
            words.insert(2, format!("--termination-log={}", message.display()));
        }
        if let Some(asks) = &self.asks {
            words.insert(2, asks.clone());
        }
        words.extend(self.more.iter().cloned());
        let log = File::create(self.folder.join(format!("{name}.log"))).unwrap();
        Command::new(&words[0])
            .args(&words[1..])
            .envs(environment)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            // A runner ends its k6 when it is told to end.
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Runs a container to its end.
    pub async fn run(&self, name: &str) -> Option<i32> {
        self.begin(name).wait().await.unwrap().code()
    }
}

/// A text with `$(NAME)` as Kubernetes reads it.
fn expanded(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut text = text.to_owned();
    for (name, value) in environment {
        text = text.replace(&format!("$({name})"), value);
    }
    text.replace("$$", "$")
}
