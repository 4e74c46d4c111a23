//! The program as tests start it.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

/// The commands that open a device, but for those that measure it.
const ON_A_DEVICE: [&str; 10] =
    ["train", "features", "explain", "predict", "evaluate", "learned", "layers", "depth", "report", "export"];

/// Where the system lets it be named, the folder of what was measured on this machine: what was measured for its user has no part in tests.
pub const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

/// The program in a folder, told to do this. It gets the plain kernels where none are asked for: a software driver compiles them four
/// times as fast as those that it would get.
pub fn program(folder: &Path, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut words: Vec<OsString> = words.into_iter().map(|word| word.as_ref().into()).collect();
    let opens = words.first().is_some_and(|command| ON_A_DEVICE.iter().any(|name| command == name));
    if opens && words.iter().all(|word| word != "--kernels") {
        words.splice(1..1, ["--kernels", "plain"].map(OsString::from));
    }
    let mut program = Command::new(env!("CARGO_BIN_EXE_convscope"));
    program.args(words).current_dir(folder).env("XDG_CACHE_HOME", CACHE);
    program
}
