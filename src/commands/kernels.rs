//! Which convolution kernels, and which of their tiles, are the fastest on an adapter: measured once, then remembered in a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::bench;
use crate::cli::{DeviceArgs, TileChoice};
use crate::disk;
use crate::gpu::{Gpu, Kernels, TileLimits};
use crate::reading::{self, unusable};
use crate::terminal::{note, one_line};

/// What may be the fastest on a GPU. The tiles of the subgroup kernels are made for processors.
const ON_GPUS: [Kernels; 2] = [Kernels::Tiled, Kernels::Plain];

/// Number of the file's form.
const FORMAT: u32 = 2;

/// What was measured on an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Choice {
    /// The fastest set of kernels.
    pub(super) kernels: Kernels,
    /// The limits whose tiles are the fastest, where `bench tune` measured them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tiles: Option<TileLimits>,
}

/// The file.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Measured {
    format: u32,
    /// By adapter, driver and version of this program.
    adapters: BTreeMap<String, Choice>,
}

/// The sets of kernels that one chooses from on this device.
pub(super) fn candidates(gpu: &Gpu) -> Vec<Kernels> {
    if gpu.is_software() {
        // What `Gpu::open` chose, and what runs everywhere.
        let own = Some(gpu.kernels()).filter(|&kernels| kernels != Kernels::Plain);
        return own.into_iter().chain([Kernels::Plain]).collect();
    }
    ON_GPUS.to_vec()
}

/// The device with the kernels and tiles that were asked for, or else with those that suit it: what was measured, on a software
/// driver what [`Gpu::open`] chose. On a GPU of which nothing is known, the sets of kernels are measured first.
pub(super) fn choose(gpu: Gpu, asked: &DeviceArgs) -> Result<Gpu> {
    let known = known(gpu.info());
    let gpu = match asked.kernels.0.or(known.map(|known| known.kernels)) {
        Some(kernels) => gpu.with_kernels(kernels)?,
        None if gpu.is_software() => gpu,
        None => with_fastest(gpu)?,
    };
    let uses_tiles = asked.tiles == TileChoice::Measured && gpu.kernels() != Kernels::Plain;
    let tiles = known.and_then(|known| known.tiles).filter(|_| uses_tiles);
    Ok(gpu.with_tile_limits(tiles.unwrap_or_default()))
}

/// The device with the fastest kernels, which are remembered.
fn with_fastest(gpu: Gpu) -> Result<Gpu> {
    // Not to standard output, which may have to be one JSON object.
    note("kernels  measuring which are the fastest on this adapter: once, a few seconds");
    let candidates = candidates(&gpu);
    let (gpu, _) = bench::fastest(gpu, &candidates, bench::default_step)?;
    if let Err(error) = remember(&gpu, Choice { kernels: gpu.kernels(), tiles: None }) {
        note(format!("note: the kernels will be measured again: {error:#}"));
    }
    Ok(gpu)
}

/// What the file says of an adapter, for people.
pub(super) fn shown(info: &wgpu::AdapterInfo) -> Option<String> {
    let Choice { kernels, tiles } = known(info)?;
    Some(match tiles {
        None => format!("measured: {kernels} kernels"),
        Some(tiles) if tiles == TileLimits::default() => format!("measured: {kernels} kernels, with the rule's tiles"),
        Some(tiles) => format!("measured: {kernels} kernels, tiles {}", serde_json::json!(tiles)),
    })
}

/// Remembers what was measured on a device.
///
/// # Errors
/// When there is no place for it or it cannot be written.
pub(super) fn remember(gpu: &Gpu, choice: Choice) -> Result<PathBuf> {
    let file = file().ok_or_else(|| anyhow!("the system names no folder for it; set XDG_CACHE_HOME"))?;
    write(&file, key(gpu.info()), choice)?;
    Ok(file)
}

/// What was measured on an adapter, if anything.
fn known(info: &wgpu::AdapterInfo) -> Option<Choice> {
    read(&file()?).adapters.remove(&key(info))
}

fn file() -> Option<PathBuf> {
    dirs::cache_dir().map(|folder| folder.join("convscope").join("kernels.json"))
}

fn key(info: &wgpu::AdapterInfo) -> String {
    let driver = format!("{} {}", info.driver, info.driver_info);
    format!("{}, {}, convscope {}", info.name, driver.trim(), env!("CARGO_PKG_VERSION"))
}

/// What was measured so far.
///
/// # Errors
/// When the file is damaged or of another version.
fn checked(file: &Path) -> Result<Measured> {
    if !file.exists() {
        return Ok(Measured::default());
    }
    let measured: Measured = reading::versioned(file, FORMAT, "it is left aside")?;
    for (adapter, choice) in &measured.adapters {
        if let Some(problem) = choice.tiles.and_then(|tiles| tiles.problem()) {
            return Err(anyhow!("{adapter}: tiles.{problem}")).with_context(|| unusable(file));
        }
    }
    Ok(measured)
}

/// The same, and nothing where the file cannot be used, which is told.
fn read(file: &Path) -> Measured {
    checked(file).unwrap_or_else(|error| {
        note(format!("note: {}; `convscope bench tune` measures anew", one_line(&error)));
        Measured::default()
    })
}

fn write(file: &Path, key: String, choice: Choice) -> Result<()> {
    // What cannot be used was told of when it was read.
    let mut measured = checked(file).unwrap_or_default();
    measured.format = FORMAT;
    measured.adapters.insert(key, choice);
    file.parent().map_or(Ok(()), fs::create_dir_all)?;
    disk::write(file, serde_json::to_string_pretty(&measured)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn choice(kernels: Kernels) -> Choice {
        Choice { kernels, tiles: None }
    }

    #[test]
    fn what_was_measured_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new").join("kernels.json");
        assert_eq!(read(&file), Measured::default());
        let start = TileLimits::default();
        let tuned = Choice { kernels: Kernels::Tiled, tiles: start.other_weights().pop() };
        write(&file, "a".into(), tuned).unwrap();
        write(&file, "b".into(), choice(Kernels::Plain)).unwrap();
        let expected = [("a".to_string(), tuned), ("b".to_string(), choice(Kernels::Plain))];
        assert_eq!(read(&file).adapters, BTreeMap::from(expected));
        write(&file, "a".into(), choice(Kernels::Plain)).unwrap();
        assert_eq!(read(&file).adapters["a"], choice(Kernels::Plain), "the later one stands");
    }

    #[test]
    fn a_damaged_or_older_file_is_left_aside() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kernels.json");
        let tuned = Choice { kernels: Kernels::Tiled, tiles: Some(TileLimits::default()) };
        write(&file, "a".into(), tuned).unwrap();
        let whole: serde_json::Value = reading::json(&file).unwrap();
        assert_eq!(read(&file).adapters["a"], tuned);
        let mut broken = vec!["".into(), "null".into(), "[]".into(), "{ half a fi".into()];
        // What earlier versions wrote.
        broken.push(r#"{"a": "tiled"}"#.to_string());
        let mut damage = |change: fn(&mut serde_json::Value)| {
            let mut damaged = whole.clone();
            change(&mut damaged);
            broken.push(damaged.to_string());
        };
        damage(|file| file["format"] = json!(FORMAT + 1));
        damage(|file| file["adapters"]["a"]["kernels"] = json!("fast"));
        damage(|file| file["adapters"]["a"]["more"] = json!(1));
        damage(|file| file["adapters"]["a"]["tiles"]["products"]["workgroups"] = json!(-1));
        damage(|file| file["adapters"]["a"]["tiles"]["weights"]["wide_invocations"] = json!(0));
        damage(|file| file["adapters"]["a"]["tiles"]["unrolled"] = json!({}));
        for broken in broken {
            fs::write(&file, &broken).unwrap();
            assert_eq!(read(&file), Measured::default(), "{broken}");
            write(&file, "b".into(), choice(Kernels::Plain)).unwrap();
            assert_eq!(read(&file).adapters.len(), 1, "it is written anew");
        }
    }
}
