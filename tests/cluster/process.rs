//! What an operator takes of its node, as the kernel counts it.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use std::path::{Path, PathBuf};

const MIB: f64 = 1024.0 * 1024.0;

/// The process of the operator in a pod.
pub struct Process(PathBuf);

impl Process {
    pub fn of(pod: &Pod) -> Self {
        let uid = pod.uid().unwrap();
        let is_its = |folder: &PathBuf| {
            read(folder, "cgroup").contains(&uid) && read(folder, "comm").trim() == "k6-operator"
        };
        let processes = std::fs::read_dir("/proc").unwrap();
        let mut folders = processes.map(|process| process.unwrap().path());
        Self(
            folders
                .find(is_its)
                .unwrap_or_else(|| panic!("{} has no process", pod.name_any())),
        )
    }

    /// A line of its status, in MiB.
    fn status(&self, name: &str) -> f64 {
        let status = read(&self.0, "status");
        let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let kilobytes = value.trim_start_matches(':').trim().trim_end_matches(" kB");
        kilobytes.parse::<f64>().unwrap() / 1024.0
    }

    /// What it has had in memory at most, in MiB.
    pub fn peak(&self) -> f64 {
        self.status("VmHWM")
    }

    /// What its limit of memory has counted at most, in MiB: with what the kernel keeps of files.
    pub fn counted(&self) -> f64 {
        let cgroups = read(&self.0, "cgroup");
        // Of the first version of cgroups, and of the second.
        let own = |line: &str| match line.split_once(':')?.1.split_once(':')? {
            ("memory", path) => Some(format!("/sys/fs/cgroup/memory{path}/memory.max_usage_in_bytes")),
            ("", path) => Some(format!("/sys/fs/cgroup{path}/memory.peak")),
            (_, _) => None,
        };
        let files = cgroups.lines().filter_map(own);
        let bytes = files.filter_map(|file| std::fs::read_to_string(file).ok()).next();
        bytes.unwrap().trim().parse::<f64>().unwrap() / MIB
    }
}

fn read(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap_or_default()
}
