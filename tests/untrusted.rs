//! What strangers may have made, cut off anywhere, with any bit turned, and made to take memory: it is read or refused, within a
//! second and little memory. Folders of results are damaged field by field in `tests/damaged/`.

#[path = "../fuzz/src/lib.rs"]
#[allow(dead_code)] // Some of it is for the fuzz targets alone.
mod readers;

use std::fs;
use std::io::{Cursor, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use peak_alloc::PeakAlloc;
use readers::{FolderReader, READERS, RESULTS, TABLES, WEIGHTS, in_folder, whole};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// The most that reading may take, on a machine that does other things as well.
const MOST_TIME: Duration = Duration::from_secs(3);
/// The most memory that it may take beside as much as the file has.
const MOST_MEMORY: usize = 64 << 20;

/// One test at a time: they count the memory of the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads bytes within the bounds.
fn bounded(what: &str, bytes: &[u8], read: impl Fn(&[u8]) -> Result<()>) -> Result<()> {
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    let started = Instant::now();
    let answer = catch_unwind(AssertUnwindSafe(|| read(bytes))).unwrap_or_else(|_| panic!("{what}: panicked"));
    let (took, memory) = (started.elapsed(), ALLOCATED.peak_usage().saturating_sub(before));
    assert!(took < MOST_TIME, "{what}: took {took:?}");
    assert!(memory <= bytes.len() + MOST_MEMORY, "{what}: took {memory} bytes, and has {}", bytes.len());
    answer
}

fn reader(name: &str) -> readers::Reader {
    READERS.iter().find(|(known, _)| *known == name).unwrap().1
}

fn seeds(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new("fuzz/seeds").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect()
}

#[test]
fn seeds_of_the_fuzz_targets_are_survived() {
    let _alone = alone();
    for (name, read) in READERS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for (file, bytes) in seeds {
            drop(bounded(&file, &bytes, read));
        }
    }
    for file in ["options/some.toml", "layers/some.toml", "torch/nested.pth", "pickle/plain", "archive/photos.zip"] {
        let (name, _) = file.split_once('/').unwrap();
        reader(name)(&fs::read(Path::new("fuzz/seeds").join(file)).unwrap()).unwrap();
    }
    for file in ["archive/outside.zip", "archive/bomb.zip"] {
        assert!(reader("archive")(&fs::read(Path::new("fuzz/seeds").join(file)).unwrap()).is_err(), "{file}");
    }
}

#[test]
fn what_is_cut_off_anywhere_is_refused() {
    let _alone = alone();
    for name in ["weights", "torch", "pickle"] {
        for (file, bytes) in seeds(name) {
            bounded(&file, &bytes, reader(name)).unwrap();
            for kept in 0..bytes.len() {
                let what = format!("{kept} bytes of {file}");
                bounded(&what, &bytes[..kept], reader(name)).expect_err(&what);
            }
        }
    }
    let archive = fs::read("fuzz/seeds/archive/photos.zip").unwrap();
    for kept in 0..archive.len() {
        let what = format!("{kept} bytes of an archive");
        bounded(&what, &archive[..kept], reader("archive")).expect_err(&what);
    }
    // Text may end early and make sense.
    for name in ["options", "layers"] {
        for (file, bytes) in seeds(name) {
            (0..bytes.len())
                .for_each(|kept| drop(bounded(&format!("{kept} bytes of {file}"), &bytes[..kept], reader(name))));
        }
    }
}

#[test]
fn a_folder_of_results_with_a_file_cut_off_names_it() {
    let _alone = alone();
    for (file, read) in RESULTS.iter().chain(&TABLES).chain(&WEIGHTS) {
        let content = whole(file);
        let read = |bytes: &[u8]| in_folder((file, *read as FolderReader), bytes);
        bounded(file, content, read).unwrap();
        let step = content.len().div_ceil(1000);
        for kept in (0..content.len() - 1).step_by(step) {
            let what = format!("{kept} bytes of {file}");
            let cut = &content[..kept];
            // A table may end after any line, but for those whose length is known.
            match bounded(&what, cut, read) {
                Ok(()) => assert!(file.ends_with(".csv") && cut.ends_with(b"\n"), "{what}: accepted"),
                Err(error) => {
                    let name = file.rsplit('/').next().unwrap();
                    assert!(format!("{error:#}").contains(name), "{what}: {error:#}");
                }
            }
        }
    }
}

#[test]
fn a_turned_bit_is_survived() {
    let _alone = alone();
    let turned = |bytes: &[u8], bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    for name in ["weights", "torch", "pickle"] {
        for (file, bytes) in seeds(name) {
            for bit in 0..8 * bytes.len().min(4096) {
                drop(bounded(&format!("bit {bit} of {file}"), &turned(&bytes, bit), reader(name)));
            }
        }
    }
    for (name, every) in [("options", 1), ("layers", 3), ("archive", 3)] {
        for (file, bytes) in seeds(name) {
            for bit in (0..8 * bytes.len().min(512)).step_by(every) {
                drop(bounded(&format!("bit {bit} of {file}"), &turned(&bytes, bit), reader(name)));
            }
        }
    }
}

#[test]
fn images_take_little_however_they_are_damaged() {
    let _alone = alone();
    let folder = Path::new("tests/fixtures/images");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        drop(bounded(&path.display().to_string(), &fs::read(&path).unwrap(), reader("image")));
    }
    for (name, step) in [
        ("baseline-420.jpg", 1),
        ("progressive.jpg", 1),
        ("sampled-unequal.jpg", 1),
        ("ycck-adobe.jpg", 3),
        ("rgb-8-interlaced.png", 3),
        ("palette-4.png", 1),
        ("with-icc.png", 3),
        ("animated.png", 3),
    ] {
        let whole = fs::read(folder.join(name)).unwrap();
        let end = if name.ends_with("jpg") {
            whole.len()
        } else {
            whole.windows(4).position(|four| four == b"IEND").unwrap() - 4
        };
        for kept in (0..end).step_by(step) {
            let what = format!("{kept} bytes of {name}");
            // What comes behind the image of a PNG may be missing, as in all programs.
            let answer = bounded(&what, &whole[..kept], reader("image"));
            assert!(answer.is_err() || name == "animated.png", "{what}: accepted");
        }
        for byte in (0..whole.len()).step_by(step) {
            let mut changed = whole.clone();
            changed[byte] ^= 1 << (byte % 8);
            drop(bounded(&format!("byte {byte} of {name}"), &changed, reader("image")));
        }
    }
}

/// Files that are small, but say that there is much, or make much of little.
#[test]
fn what_is_made_to_take_memory_or_time_is_refused() {
    let _alone = alone();
    let refused = |what: &str, bytes: &[u8], reader: readers::Reader, told: &str| {
        let error = format!("{:#}", bounded(what, bytes, reader).expect_err(what));
        assert!(error.contains(told), "{what}: {error}");
    };
    for (what, part) in [
        ("dictionaries", &b"}"[..]),
        ("lists", b"]"),
        ("texts", b"\x8c\0"),
        ("marks", b"("),
        ("storages' names", b"h\0"),
    ] {
        let bytes = [&b"\x80\x02]q\0"[..], &part.repeat((1 << 23) / part.len())].concat();
        refused(what, &bytes, reader("pickle"), "instructions");
    }
    // A thousand tensors of all numbers of one storage.
    let mut tensors =
        b"\x80\x02}(X\x01\0\0\0aq\0ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
            .to_vec();
    tensors.extend(b"X\x01\0\0\x000X\x03\0\0\0cpuK\x01tQK\0K\x10\x85K\x01\x85\x89}tRq\x01");
    for number in 0..1000 {
        tensors.extend([&b"\x8c\x04"[..], format!("{number:04}").as_bytes(), b"h\x01"].concat());
    }
    tensors.extend(b"u.");
    drop(bounded("tensors that share a storage", &tensors, reader("pickle")));

    let entry = |number: usize| format!("\"{number:06}\":{{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,0]}},");
    let header: String = (0..400_000).map(entry).collect();
    let header = format!("{{{}}}", header.trim_end_matches(','));
    let many = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    for name in ["weights", "torch"] {
        refused("a header of many tensors", &many, reader(name), "its header has ");
        for length in [u64::MAX, u64::MAX / 2, 1 << 40, 100_000_000] {
            let lie = [&length.to_le_bytes()[..], b"{}"].concat();
            assert!(bounded("a length that is a lie", &lie, reader(name)).is_err());
        }
    }
    // As large as one may be.
    let header: String = (0..79_000).map(entry).collect();
    let header = format!("{{{}}}", header.trim_end_matches(','));
    let many = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    for name in ["weights", "torch"] {
        drop(bounded("a header of many tensors", &many, reader(name)));
    }
    // Settings are kept until all fields are known.
    let settings = ["run/config.json", "study/study.json", "study/depth.json", "study/units/d1-r1-f1.json"];
    for (part, (file, read)) in ["0,", "[],", "{},"].iter().flat_map(|part| RESULTS.map(|file| (part, file))) {
        let many = format!("[{}0]", part.repeat((1 << 21) / part.len()));
        let text = format!("{{\"x\":{many}}}");
        bounded(file, text.as_bytes(), |bytes| in_folder((file, read), bytes)).unwrap_err();
        let text = format!("{{\"identity\":{{\"settings\":{{\"x\":{many}}}}}}}");
        let error = bounded(file, text.as_bytes(), |bytes| in_folder((file, read), bytes)).unwrap_err();
        assert!(format!("{error:#}").contains("it has ") || !settings.contains(&file), "{file}: {error:#}");
    }
    let config = |bytes: &[u8]| in_folder(RESULTS[0], bytes);
    let text = format!("{{\"x\":[{}0]}}", "0,".repeat((1 << 18) - 8));
    assert!(bounded("a long list", text.as_bytes(), config).is_err());
    let deep = "[".repeat(1 << 20);
    for (file, read) in &RESULTS {
        assert!(bounded(file, deep.as_bytes(), |bytes| in_folder((file, *read), bytes)).is_err());
    }
    for name in ["options", "layers"] {
        let nested = format!("layers = {}", "[{ type = \"Sequential\", layers = ".repeat(10_000));
        assert!(bounded("nested tables", nested.as_bytes(), reader(name)).is_err());
        let lists = format!("size = {deep}");
        refused("nested lists", lists.as_bytes(), reader(name), "it has ");
        let most = &lists.as_bytes()[..1 << 19];
        assert!(bounded("as many nested lists as there may be", most, reader(name)).is_err());
        assert!(bounded("dotted keys", format!("{}a = 1", "a.".repeat(10_000)).as_bytes(), reader(name)).is_err());
    }

    // An archive whose files unpack to a thousand times their size, and one of very many files.
    let archive = |files: usize, size: usize, method| {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for number in 0..files {
            archive
                .start_file(format!("Photos/{number}"), SimpleFileOptions::default().compression_method(method))
                .unwrap();
            archive.write_all(&vec![0; size]).unwrap();
        }
        archive.finish().unwrap().into_inner()
    };
    let deflated = archive(1, 100 << 20, CompressionMethod::Deflated);
    refused("zeros", &deflated, reader("archive"), "unpacks to more than");
    let many = archive(20_000, 0, CompressionMethod::Stored);
    refused("many files", &many, reader("archive"), "entries, more than");
}

/// What is no file is not waited for.
#[cfg(unix)]
#[test]
fn a_pipe_in_the_place_of_a_result_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    for (file, read) in RESULTS.iter().chain(&TABLES).chain(&WEIGHTS).filter(|(file, _)| file.starts_with("run/")) {
        for (other, _) in RESULTS.iter().chain(&TABLES).chain(&WEIGHTS) {
            let path = folder.path().join(other);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, whole(other)).unwrap();
        }
        let path = folder.path().join(file);
        fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        match read(&run) {
            // Weights that cannot be read say nothing of other files, and a folder whose last file is none is no result.
            Ok(()) => assert!(
                file.ends_with("learned.json") || file.ends_with("explained.json") || file.ends_with("layers.json"),
                "{file}"
            ),
            Err(error) => assert!(format!("{error:#}").contains("is not a regular file"), "{file}: {error:#}"),
        }
        fs::remove_file(&path).unwrap();
    }
}

/// The fuzz targets are built by hand and seldom: what the program needs since then would change their lock without notice.
#[test]
fn the_lock_of_the_fuzz_targets_has_what_the_program_needs() {
    let manifest: toml::Table = toml::from_str(&fs::read_to_string("Cargo.toml").unwrap()).unwrap();
    let lock = fs::read_to_string("fuzz/Cargo.lock").unwrap();
    let (_, needed) = lock.split_once("name = \"convscope\"\n").unwrap();
    let (needed, _) = needed.split_once(']').unwrap();
    // The fuzz targets leave out one feature.
    for name in manifest["dependencies"].as_table().unwrap().keys().filter(|name| *name != "mpi") {
        assert!(
            needed.contains(&format!("\"{name}\"")) || needed.contains(&format!("\"{name} ")),
            "fuzz/Cargo.lock lacks {name}: run `cargo update --manifest-path fuzz/Cargo.toml convscope`"
        );
    }
}
