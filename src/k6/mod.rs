//! What is known of k6, by version: its flags, what it prints, and what its exit codes mean. Pure.

pub mod archive;
pub mod arguments;
pub mod duration;
pub mod execution;
pub mod exit_code;
pub mod export;
pub mod flags;
pub mod format;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod refusal;
pub mod segments;
pub mod summary;
pub mod system_tags;
pub mod threshold;
pub mod version;

pub use arguments::Arguments;
pub use flags::{Arity, Flag, Flags};
pub use version::Version;
