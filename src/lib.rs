//! convscope
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod gpu;
pub mod kernel;
pub mod layout;
pub mod model;
pub mod ops;
pub mod reference;
pub mod spec;

#[cfg(feature = "native")]
pub mod cli;
#[cfg(feature = "native")]
pub mod commands;
#[cfg(feature = "native")]
pub mod data;
#[cfg(feature = "native")]
pub mod inspect;
#[cfg(feature = "native")]
pub mod report;
#[cfg(feature = "native")]
pub mod run_dir;
#[cfg(feature = "native")]
pub mod train;
