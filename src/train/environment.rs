//! Where a run was made.

use serde::{Deserialize, Serialize};

use crate::gpu::{Gpu, TileLimits};

/// `environment.json` of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Name of the adapter.
    pub adapter: String,
    /// Whether it is a GPU, and which kind, or a software driver.
    pub device_type: String,
    /// Its interface.
    pub backend: String,
    /// Its driver.
    pub driver: String,
    /// The driver's version.
    pub driver_info: String,
    /// The kernels of the convolutions.
    pub kernels: String,
    /// The limits of the rules that chose their tiles.
    pub tiles: TileLimits,
    /// Version of this program.
    pub convscope: String,
    /// Version of what speaks to the adapter.
    pub wgpu: String,
    /// Version of what compiles the kernels.
    pub naga: String,
    /// The system.
    pub os: String,
    /// The processor.
    pub arch: String,
    /// Threads that the machine runs at once.
    pub threads: usize,
    /// What decided all that was random.
    pub seed: u64,
    /// Processes that trained it together; none of one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<usize>,
    /// The run's id, in runs that have one.
    #[serde(default)]
    pub run: Option<String>,
}

impl Environment {
    /// What is so now, on this device, of the run with this id.
    pub fn of(gpu: &Gpu, seed: u64, run: &str) -> Self {
        let info = gpu.info();
        Self {
            adapter: info.name.clone(),
            device_type: format!("{:?}", info.device_type),
            backend: format!("{:?}", info.backend),
            driver: info.driver.clone(),
            driver_info: info.driver_info.clone(),
            kernels: gpu.kernels().to_string(),
            tiles: *gpu.tile_limits(),
            convscope: env!("CARGO_PKG_VERSION").into(),
            wgpu: locked_version("wgpu"),
            naga: locked_version("naga"),
            os: std::env::consts::OS.into(),
            arch: std::env::consts::ARCH.into(),
            threads: crate::data::threads(),
            seed,
            processes: None,
            run: Some(run.into()),
        }
    }

    /// The kernels, for people.
    pub fn kernels_shown(&self) -> String {
        let measured = self.tiles != TileLimits::default();
        format!("{} kernels{}", self.kernels, if measured { " with measured tiles" } else { "" })
    }
}

/// The version of a dependency that this program was built with.
fn locked_version(package: &str) -> String {
    let lock = include_str!("../../Cargo.lock");
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{package}\"")));
    let version = entry.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next());
    version.unwrap_or("unknown").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measured_tiles_are_told() {
        let with = |tiles| Environment { kernels: "tiled".into(), tiles, ..Environment::default() }.kernels_shown();
        let start = TileLimits::default();
        assert_eq!(with(start), "tiled kernels");
        let other = start.other_weights().pop().unwrap();
        assert_eq!(with(other), "tiled kernels with measured tiles");
    }

    #[test]
    fn versions_come_from_the_lock_file() {
        assert!(locked_version("wgpu").starts_with("30."));
        assert_eq!(locked_version("no such package"), "unknown");
    }
}
