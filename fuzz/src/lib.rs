//! Whatever reads what strangers may have made, from bytes alone: for the fuzz targets, and for `tests/untrusted.rs`.

use std::cell::OnceCell;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::LazyLock;

use anyhow::{Result, anyhow};
use clap::Parser;
use convscope::cli::{Cli, ModelName, with_settings};
use convscope::data::fit::Fit;
use convscope::data::prepare;
use convscope::fetch::{Archive, unpack_into};
use convscope::nn::checkpoint::{Checkpoint, Weights};
use convscope::nn::{Network, Spec, StateDict, Strided};
use convscope::report::DepthStudy;
use convscope::study::Study;
use convscope::train::photo_list;
use convscope::train::run_dir::RunDir;
use convscope::train::{Run, Which};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Reads bytes: they are what they should be, or the error says what they are not.
pub type Reader = fn(&[u8]) -> Result<()>;

/// Each reader by its name, which is that of its fuzz target and of the folder of its seeds.
pub const READERS: [(&str, Reader); 9] = [
    ("image", image),
    ("weights", weights),
    ("torch", torch),
    ("pickle", pickle),
    ("options", options),
    ("layers", layers),
    ("results", results),
    ("tables", tables),
    ("archive", archive),
];

/// The reader of this name.
pub fn read(name: &str, bytes: &[u8]) -> Result<()> {
    let (_, reader) = READERS.iter().find(|(known, _)| *known == name).expect("there is such a reader");
    reader(bytes)
}

/// An image, as training and prediction read it.
fn image(bytes: &[u8]) -> Result<()> {
    let opened = prepare::decode(bytes).map_err(|reason| anyhow!("image.jpg {reason}"))?;
    let square = opened.square(Fit::to(16));
    assert_eq!(square.len(), 3 * 16 * 16);
    Ok(())
}

/// Weights of convscope, or of the same network by PyTorch, which have no checksum that other bytes hide behind.
fn weights(bytes: &[u8]) -> Result<()> {
    static NETWORK: LazyLock<Network> = LazyLock::new(|| {
        let network = Strided { channels: vec![4, 4], hidden: 4, ..Strided::dogs_vs_cats(16, 2) };
        network.build().expect("there is such a network")
    });
    if !contains(bytes, b"\"convscope\"") {
        Weights::from_state_dict(bytes, &NETWORK)?;
        return Ok(());
    }
    let checkpoint = Checkpoint::from_bytes(bytes)?;
    assert_eq!(Checkpoint::from_bytes(&checkpoint.to_bytes())?, checkpoint);
    Ok(())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Weights of another program: a file of `torch.save`, or safetensors.
fn torch(bytes: &[u8]) -> Result<()> {
    let state = StateDict::from_bytes(bytes)?;
    assert_eq!(StateDict::from_bytes(&state.to_safetensors())?.shapes(), state.shapes());
    Ok(())
}

/// The pickle in a file of `torch.save`, which would else hide behind the archive's checksum. Of its storages there is "0".
fn pickle(bytes: &[u8]) -> Result<()> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in [("x/data.pkl", bytes), ("x/data/0", &[0; 64])] {
        archive.start_file(name, stored)?;
        archive.write_all(content)?;
    }
    torch(&archive.finish()?.into_inner())
}

/// Options of `train` in a TOML file.
fn options(bytes: &[u8]) -> Result<()> {
    Folders::with(|folders| {
        let file = folders.file("options.toml", bytes);
        let typed = ["convscope", "train", "--config"].map(OsString::from);
        let (words, _) = with_settings(typed.into_iter().chain([file.into()]).collect())?;
        Cli::try_parse_from(words)?;
        Ok(())
    })
}

/// The layers of a network in a TOML file.
fn layers(bytes: &[u8]) -> Result<()> {
    Folders::with(|folders| {
        let file = folders.file("layers.toml", bytes);
        let name: ModelName =
            file.to_str().expect("the folder has a plain name").parse().map_err(|told: String| anyhow!(told))?;
        let ModelName::File { layers, .. } = name else { unreachable!("it is a file") };
        Spec { input: [3, 32, 32], layers }.build()?;
        Ok(())
    })
}

/// Results of a run or a study: the first byte says which file the others are.
fn results(bytes: &[u8]) -> Result<()> {
    one_of(&RESULTS, bytes)
}

/// Tables of a run: the first byte says which file the others are.
fn tables(bytes: &[u8]) -> Result<()> {
    one_of(&TABLES, bytes)
}

fn one_of(files: &[(&'static str, FolderReader)], bytes: &[u8]) -> Result<()> {
    let Some((&first, content)) = bytes.split_first() else { return Err(anyhow!("nothing")) };
    in_folder(files[usize::from(first) % files.len()], content)
}

/// Reads a file in the folder that holds the others, which are whole.
pub fn in_folder((file, reader): (&'static str, FolderReader), content: &[u8]) -> Result<()> {
    Folders::with(|folders| {
        folders.file(file, content);
        let read = reader(&folders.root.path().join(file.split('/').next().unwrap_or_default()));
        folders.file(file, whole(file));
        read
    })
}

/// Reads a file of a folder of results.
pub type FolderReader = fn(&Path) -> Result<()>;

/// The JSON files of a run and a study.
pub const RESULTS: [(&str, FolderReader); 8] = [
    ("run/config.json", |run| Run::open(run).map(drop)),
    ("run/environment.json", |run| Run::open(run)?.environment().map(drop)),
    ("run/layers/layers.json", |run| Run::open(run)?.layers().map(drop)),
    ("run/learned/learned.json", |run| Run::open(run)?.learned().map(drop)),
    ("run/explain/0/explained.json", explained),
    ("study/study.json", |study| Study::read(&RunDir::at(study.to_path_buf())).map(drop)),
    ("study/depth.json", |study| DepthStudy::read(study).map(drop)),
    ("study/units/d1-r1-f1.json", units),
];

/// The tables of a run.
pub const TABLES: [(&str, FolderReader); 6] = [
    ("run/metrics.csv", |run| Run::open(run)?.metrics().map(drop)),
    ("run/rejected.csv", |run| Run::open(run)?.rejected().map(drop)),
    ("run/validation.csv", |run| Run::open(run)?.photos().map(drop)),
    ("run/learned/channels.csv", |run| Run::open(run)?.learned().map(drop)),
    ("run/learned/patches.csv", |run| Run::open(run)?.learned().map(drop)),
    ("run/photos.csv", |run| photo_list::read(&run.join("photos.csv"), Run::open(run)?.classes()).map(drop)),
];

/// The weights of a run.
pub const WEIGHTS: [(&str, FolderReader); 2] = [
    ("run/best.safetensors", |run| Run::open(run)?.checkpoint(Which::Best).map(drop)),
    ("run/last.safetensors", |run| Run::open(run)?.checkpoint(Which::Last).map(drop)),
];

fn explained(run: &Path) -> Result<()> {
    let found = Run::open(run)?.explained(5);
    let damaged = found.damaged.first().map(|told| anyhow!("{told}"));
    damaged.map_or(Ok(()), Err)
}

fn units(study: &Path) -> Result<()> {
    let folder = RunDir::at(study.to_path_buf());
    let read = Study::read(&folder)?;
    convscope::study::findings::collect(&folder, &read)?;
    Ok(())
}

/// An archive of photos, as it comes from the web.
fn archive(bytes: &[u8]) -> Result<()> {
    Folders::with(|folders| {
        let file = File::open(folders.file("archive.zip", bytes))?;
        let expected = Archive {
            url: String::new(),
            size: 0,
            sha256: String::new(),
            unpacked: 1 << 20,
            entries: 100,
            folder: "Photos".into(),
        };
        let dir = folders.root.path().join("unpacked/here");
        let unpacked = unpack_into(file, &expected, &dir, &mut |_, _| ());
        let around = fs::read_dir(dir.parent().expect("it has one"))?.count();
        assert_eq!(
            around,
            usize::from(unpacked.is_ok()),
            "nothing lies beside the folder, and nothing is left of what failed"
        );
        if unpacked.is_ok() {
            fs::remove_dir_all(&dir)?;
        }
        unpacked
    })
}

/// What a file of the folders of results holds.
pub fn whole(file: &str) -> &'static [u8] {
    FILES.iter().find(|(known, _)| *known == file).expect("there is such a file").1
}

macro_rules! files {
    ($($file:literal),*) => { [$(($file, include_bytes!(concat!("../../tests/fixtures/", $file)).as_slice())),*] };
}

/// A run of two epochs of a tiny network and a study of it.
const FILES: [(&str, &[u8]); 19] = files![
    "run/config.json",
    "run/environment.json",
    "run/metrics.csv",
    "run/rejected.csv",
    "run/validation.csv",
    "run/photos.csv",
    "run/best.safetensors",
    "run/last.safetensors",
    "run/explain/0/explained.json",
    "run/layers/layers.json",
    "run/learned/learned.json",
    "run/learned/channels.csv",
    "run/learned/patches.csv",
    "study/study.json",
    "study/depth.json",
    "study/units/d1-r1-f1.json",
    "study/units/d1-r1-f2.json",
    "study/units/d2-r1-f1.json",
    "study/units/d2-r1-f2.json"
];

/// A folder with these files, one a thread.
struct Folders {
    root: TempDir,
}

impl Folders {
    fn with<T>(act: impl FnOnce(&Self) -> T) -> T {
        thread_local!(static FOLDERS: OnceCell<Folders> = const { OnceCell::new() });
        FOLDERS.with(|folders| act(folders.get_or_init(Self::new)))
    }

    fn new() -> Self {
        // In memory where that can be: they are written many thousand times.
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        let folders = Self { root: root.expect("a temporary folder can be made") };
        fs::create_dir(folders.root.path().join("unpacked")).expect("a folder can be made in it");
        FILES.iter().for_each(|(file, content)| drop(folders.file(file, content)));
        folders
    }

    fn file(&self, name: &str, content: &[u8]) -> std::path::PathBuf {
        let path = self.root.path().join(name);
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("a folder can be made");
        fs::write(&path, content).expect("a file can be written");
        path
    }
}
