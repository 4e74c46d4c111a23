//! Puts a hash of the program's sources into the program, so that results can say by which code they were made.

use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    let mut files = vec![PathBuf::from("Cargo.lock")];
    for folder in ["src", "shaders"] {
        println!("cargo::rerun-if-changed={folder}");
        list(Path::new(folder), &mut files);
    }
    println!("cargo::rerun-if-changed=Cargo.lock");
    files.sort();
    // FNV-1a, which unlike the standard library's hash is the same with every compiler.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for file in files {
        // A package without its lock file is hashed without it.
        for byte in fs::read(&file).unwrap_or_default() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    println!("cargo::rustc-env=CONVSCOPE_SOURCES={hash:016x}");
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the sources are there").flatten() {
        let path = entry.path();
        if path.is_dir() { list(&path, files) } else { files.push(path) }
    }
}
