//! Files in which the aggregator keeps what it received, so that it goes on where it was after a restart.

use super::server::SenderError;
use crate::aggregate::closing::Claim;
use crate::aggregate::store::{ExportError, Sender};
use jiff::Timestamp;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Names the file that is being read. It exists only while the kept files are read.
const READING: &str = ".reading";
/// Records which runner calls handleSummary(), and the result of the call.
const CLAIM: &str = ".closing.json";

/// What is kept of each process of a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// The last export, as it was received.
    Export,
    /// The last heartbeat, once the runner's part of the test has ended.
    Heartbeat,
}

impl Kept {
    fn suffix(self) -> &'static str {
        match self {
            Self::Export => "otlp",
            Self::Heartbeat => "json",
        }
    }
}

/// A kept file that is read back.
#[derive(Debug)]
pub(super) struct KeptFile {
    /// The runner's number, as the name of the file has it.
    pub(super) runner: String,
    /// The process of that runner, as the name of the file has it.
    pub(super) process: String,
    pub(super) what: Kept,
    path: PathBuf,
}

/// Why a kept file can't be used.
#[derive(Debug, Error)]
pub(super) enum RestoreError {
    #[error("its name does not name a process of a runner")]
    Name,
    #[error(transparent)]
    Sender(#[from] SenderError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error("it is no heartbeat: {0}")]
    Heartbeat(#[from] serde_json::Error),
}

impl KeptFile {
    /// The kept file at this path, or None if the file is not of a process.
    fn at(path: &Path) -> Result<Option<Self>, RestoreError> {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let Some((name, suffix)) = name.split_once('.').filter(|(name, _)| !name.is_empty()) else {
            return Ok(None);
        };
        let (runner, process) = name.split_once('-').ok_or(RestoreError::Name)?;
        let what = [Kept::Export, Kept::Heartbeat]
            .into_iter()
            .find(|what| what.suffix() == suffix);
        Ok(Some(Self {
            runner: runner.to_owned(),
            process: process.to_owned(),
            what: what.ok_or(RestoreError::Name)?,
            path: path.to_owned(),
        }))
    }

    /// The content of the file.
    pub(super) fn content(&self) -> io::Result<Vec<u8>> {
        std::fs::read(&self.path)
    }

    /// When the file was written, if that can be known.
    pub(super) fn written_at(&self) -> Option<Timestamp> {
        let modified = std::fs::metadata(&self.path).and_then(|file| file.modified());
        Timestamp::try_from(modified.ok()?).ok()
    }
}

/// The folder of the kept files. Without a folder, nothing is kept.
#[derive(Debug)]
pub(super) struct KeptFiles(pub(super) Option<PathBuf>);

impl KeptFiles {
    /// Keeps the last export or heartbeat of a process, in place of the one before.
    pub(super) fn keep(&self, sender: &Sender, what: Kept, content: &[u8]) {
        let name = format!("{}-{}.{}", sender.runner, sender.process, what.suffix());
        self.write(&name, content);
    }

    /// Keeps which runner calls handleSummary(): it is called once, whatever process of the aggregator asks for it.
    pub(super) fn keep_claim(&self, claim: &Claim) {
        self.write(CLAIM, &serde_json::to_vec(claim).unwrap_or_default());
    }

    /// Which runner calls handleSummary(), if an earlier process of the aggregator has asked one.
    pub(super) fn claim(&self) -> Option<Claim> {
        let claim = std::fs::read(self.0.as_ref()?.join(CLAIM)).ok()?;
        serde_json::from_slice(&claim).ok()
    }

    /// Replaces a file as a whole, so that a crash leaves either the old content or the new.
    fn write(&self, name: &str, content: &[u8]) {
        let Some(folder) = &self.0 else {
            return;
        };
        // Names that begin with a dot are not read back.
        let partial = folder.join(format!(".{name}.part"));
        let written =
            std::fs::write(&partial, content).and_then(|()| std::fs::rename(&partial, folder.join(name)));
        if let Err(error) = written {
            tracing::warn!(%error, name, folder = %folder.display(), "a file that a restart needs could not be written");
        }
    }

    /// Reads all kept files, exports first: heartbeats are compared with them. A file that can't be used is set aside,
    /// and so is the one whose reading ended an earlier process.
    pub(super) fn read(&self, mut restore: impl FnMut(&KeptFile) -> Result<(), RestoreError>) {
        let Some(folder) = &self.0 else {
            return;
        };
        set_aside_unfinished(folder);
        let mut paths: Vec<_> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(|file| Some(file.ok()?.path()))
            .collect();
        paths.sort_by_key(|path| path.extension() != Some(OsStr::new(Kept::Export.suffix())));
        for path in paths {
            begin_reading(folder, &path);
            let restored = KeptFile::at(&path).and_then(|file| file.as_ref().map_or(Ok(()), &mut restore));
            if let Err(error) = restored {
                tracing::warn!(%error, path = %path.display(), "a kept file can't be used and is set aside");
                set_aside(folder, &path);
            }
        }
        end_reading(folder);
    }
}

/// Records which file is read next: if reading it ends this process, the next process sets the file aside.
fn begin_reading(folder: &Path, path: &Path) {
    let name = path.file_name().unwrap_or_default();
    if let Err(error) = std::fs::write(folder.join(READING), name.as_encoded_bytes()) {
        tracing::warn!(%error, folder = %folder.display(), "the name of the file that is read could not be written");
    }
}

fn end_reading(folder: &Path) {
    let _ = std::fs::remove_file(folder.join(READING));
}

/// Sets aside the file that an earlier process began to read and did not finish. Reading it again would end this process
/// as well.
fn set_aside_unfinished(folder: &Path) {
    let Ok(name) = std::fs::read_to_string(folder.join(READING)) else {
        return;
    };
    end_reading(folder);
    let is_name = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    if is_name && folder.join(&name).exists() {
        tracing::warn!(%name, "an earlier process ended while it read this file, which is set aside");
        set_aside(folder, &folder.join(name));
    }
}

/// Renames a file so that it is not read again. The next export or heartbeat of its process takes its place.
fn set_aside(folder: &Path, path: &Path) {
    let mut name = OsString::from(".aside-");
    name.push(path.file_name().unwrap_or_default());
    if let Err(error) = std::fs::rename(path, folder.join(name)) {
        tracing::warn!(%error, path = %path.display(), "the file could not be set aside");
    }
}
