//! The programs that run in the pods of a run.

pub mod inspect;
