//! Which convolution kernels are the fastest on an adapter: measured once, then remembered in a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::bench::{self, Setting};
use crate::disk;
use crate::gpu::{Gpu, Kernels};
use crate::reading;
use crate::terminal::{note, one_line};

/// What may be the fastest on a GPU. The tiles of the subgroup kernels are made for processors.
const ON_GPUS: [Kernels; 2] = [Kernels::Tiled, Kernels::Plain];

/// The device with the kernels that suit it: on a software driver those that [`Gpu::open`] chose, on a GPU the fastest.
pub(super) fn choose(gpu: Gpu) -> Result<Gpu> {
    if gpu.is_software() {
        return Ok(gpu);
    }
    let Setting { adapter, driver, .. } = Setting::of(&gpu);
    let key = format!("{adapter}, {driver}, convscope {}", env!("CARGO_PKG_VERSION"));
    let file = dirs::cache_dir().map(|folder| folder.join("convscope").join("kernels.json"));
    if let Some(kernels) = file.as_deref().and_then(|file| remembered(file, &key)) {
        return Ok(gpu.with_kernels(kernels)?);
    }
    // Not to standard output, which may have to be one JSON object.
    note("kernels  measuring which are the fastest on this adapter: once, a few seconds");
    let (gpu, kernels) = bench::fastest(gpu, &ON_GPUS)?;
    if let Some(file) = file {
        remember(&file, key, kernels);
    }
    Ok(gpu)
}

/// The kernels that were measured to be the fastest under this key; none that were not among those to choose from.
fn remembered(file: &Path, key: &str) -> Option<Kernels> {
    read(file).remove(key).filter(|kernels| ON_GPUS.contains(kernels))
}

/// What was measured so far. Where the file is broken, that is told, and it is measured again.
fn read(file: &Path) -> BTreeMap<String, Kernels> {
    if !file.exists() {
        return BTreeMap::new();
    }
    reading::json(file).unwrap_or_else(|error| {
        note(format!("note: {}: the kernels will be measured again", one_line(&error)));
        BTreeMap::new()
    })
}

fn remember(file: &Path, key: String, kernels: Kernels) {
    let mut known = read(file);
    known.insert(key, kernels);
    let write = || {
        file.parent().map_or(Ok(()), fs::create_dir_all)?;
        disk::write(file, serde_json::to_string_pretty(&known)?.as_bytes())
    };
    if let Err(error) = write() {
        note(format!("note: the kernels will be measured again: {error:#}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new").join("kernels.json");
        assert!(read(&file).is_empty());
        remember(&file, "a".into(), Kernels::Tiled);
        remember(&file, "b".into(), Kernels::Plain);
        remember(&file, "a".into(), Kernels::Plain);
        assert_eq!(read(&file), BTreeMap::from([("a".into(), Kernels::Plain), ("b".into(), Kernels::Plain)]));
        assert_eq!(remembered(&file, "b"), Some(Kernels::Plain));
        remember(&file, "b".into(), Kernels::Subgroup);
        assert_eq!(remembered(&file, "b"), None, "no measurement chooses these");
        for broken in ["", "null", "[]", "{ half a fi", r#"{"a": "fast"}"#] {
            fs::write(&file, broken).unwrap();
            assert_eq!(remembered(&file, "a"), None, "{broken}");
        }
    }
}
