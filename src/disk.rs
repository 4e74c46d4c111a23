//! Files that appear whole or not at all, and folders that one process claims.
//!
//! Everything that the program writes goes through [`write`] or [`write_new`]; `clippy.toml` forbids the ways around them.
//! A file is written under another name beside its place, `NAME.PROCESS-NUMBER.unfinished`, and takes its name when all of it is
//! on the disk. Its writer holds a lock on it. The system lifts the lock when the process ends, however it ends, so that
//! [`sweep`] can tell what was left behind from what is being written. That it is on the disk means that it outlasts a power failure: its
//! content is synced before it takes its name, and the folder afterwards. What is too large for that, or grows over several runs of
//! the program, is a [`Part`] or [`Staged`].
#![allow(clippy::disallowed_methods)] // The one place that may.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Error, Result};
use serde::Serialize;

/// How the name of a file ends that is being written.
const UNFINISHED: &str = ".unfinished";
/// The file that claims the folder it lies in.
const CLAIM: &str = "claim.unfinished";

/// Writes a file whole or not at all: a stop at any moment leaves the old one or the new one.
///
/// # Errors
/// When the file cannot be written. Nothing is left of it then.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let unfinished = Unfinished::with(path, bytes)?;
        fs::rename(&unfinished.path, path)?;
        sync_folder(path)
    };
    named(write(), path)
}

/// Writes a file whole, unless there is one of this name already. Returns whether it was written. Of several processes that try
/// at once, one succeeds.
///
/// # Errors
/// As [`write`].
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<bool> {
    let write = || {
        let unfinished = Unfinished::with(path, bytes)?;
        match fs::hard_link(&unfinished.path, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            // Some file systems have no links. What is left there is to look first.
            Err(_) if path.exists() => return Ok(false),
            Err(_) => fs::rename(&unfinished.path, path)?,
            Ok(()) => {}
        }
        sync_folder(path).map(|()| true)
    };
    named(write(), path)
}

/// Checks that a file can be written, without writing it.
///
/// # Errors
/// When there is no folder for it, or nothing can be written there.
pub fn check_writable(path: &Path) -> Result<()> {
    named(Unfinished::beside(path).map(drop), path)
}

/// Checks that files can be written in a folder, without writing one.
///
/// # Errors
/// When there is no such folder, or nothing can be written there.
pub fn check_folder(folder: &Path) -> Result<()> {
    named(Unfinished::beside(&folder.join("file")).map(drop), folder)
}

/// Names the file that could not be written, and where there is no room for it, what helps.
fn named<T>(done: io::Result<T>, path: &Path) -> Result<T> {
    done.map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::StorageFull => " (the disk is full: make room on it)",
            ErrorKind::QuotaExceeded => " (your share of the disk is used up: make room in it)",
            ErrorKind::FileTooLarge => " (it would exceed the limit on the size of files, `ulimit -f`: raise it)",
            _ => "",
        };
        Error::new(error).context(format!("cannot write {}{remedy}", path.display()))
    })
}

/// Bytes that there is still room for where a path lies or would lie, where the system tells.
pub fn free(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let found = rustix::fs::statvfs(existing(path)).ok()?;
        // Some network drives do not tell.
        (found.f_blocks > 0).then_some(found.f_bavail.saturating_mul(found.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// The part of a path that is there: the path itself, or the nearest folder that it would lie in.
pub fn existing(path: &Path) -> &Path {
    let mut folders =
        path.ancestors().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    folders.find(|folder| folder.exists()).unwrap_or(Path::new("."))
}

/// The bytes of a CSV table.
///
/// # Errors
/// When a line does not fit the others.
pub fn table(fill: impl FnOnce(&mut csv::Writer<Vec<u8>>) -> csv::Result<()>) -> Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    fill(&mut table)?;
    table.into_inner().context("the table is complete")
}

/// The bytes of a CSV table whose columns are the fields of its rows; the header alone where there is no row.
///
/// # Errors
/// When a row cannot be written as one line.
pub fn rows<Row: Serialize + Default>(rows: &[Row]) -> Result<Vec<u8>> {
    let mut bytes = table(|table| match rows {
        [] => table.serialize(Row::default()),
        rows => rows.iter().try_for_each(|row| table.serialize(row)),
    })?;
    if rows.is_empty() {
        let header = bytes.iter().position(|&byte| byte == b'\n').context("a table has a header")?;
        bytes.truncate(header + 1);
    }
    Ok(bytes)
}

/// A file on its way to its place. Dropping it removes what is left under its own name.
struct Unfinished {
    path: PathBuf,
    /// Holds the lock.
    file: File,
}

impl Unfinished {
    /// Puts `bytes` on the disk, beside the place where they are to go.
    fn with(target: &Path, bytes: &[u8]) -> io::Result<Self> {
        let mut unfinished = Self::beside(target)?;
        unfinished.file.write_all(bytes)?;
        unfinished.file.sync_all()?;
        Ok(unfinished)
    }

    fn beside(target: &Path) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = target.file_name().ok_or(ErrorKind::InvalidFilename)?;
        loop {
            let mut name = name.to_os_string();
            name.push(format!(".{}-{}{UNFINISHED}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
            let path = target.with_file_name(name);
            match File::create_new(&path) {
                // A process of the same number, on another machine or before this one.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                file => {
                    let unfinished = Self { file: file?, path };
                    // Some file systems know no locks. Nothing is swept there.
                    let _ = unfinished.file.lock();
                    // Another process may have swept it away before it was locked.
                    if unfinished.path.exists() {
                        return Ok(unfinished);
                    }
                }
            }
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It has gone already where it was renamed.
        let _ = fs::remove_file(&self.path);
    }
}

/// The folder that a path names something in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a folder whose name outlasts a power failure.
///
/// # Errors
/// When it cannot be made: there is one already, or none that it could lie in.
pub fn make_folder(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    sync_folder(path)
}

/// Makes sure that a new name in the folder of `path` outlasts a power failure.
fn sync_folder(path: &Path) -> io::Result<()> {
    // Elsewhere a folder cannot be opened.
    if cfg!(unix) {
        match File::open(folder_of(path))?.sync_all() {
            // Some file systems cannot do this for a folder.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {}
            result => result?,
        }
    }
    Ok(())
}

/// Makes sure that all files in a folder, and below it, outlast a power failure.
fn sync_below(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_below(&entry.path())?;
        } else {
            File::options().write(true).open(entry.path())?.sync_all()?;
        }
    }
    sync_folder(&folder.join("any"))
}

/// Removes what processes that were stopped have left half written, in a folder and all below it. What another process is
/// writing at this moment stays.
pub fn sweep(folder: &Path) {
    // What cannot be read or removed harms nobody.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => sweep(&entry.path()),
            Ok(kind) if kind.is_file() && is_unfinished(&entry.file_name().to_string_lossy()) => {
                if let Ok(file) = File::options().write(true).open(entry.path())
                    && file.try_lock().is_ok()
                {
                    let _ = fs::remove_file(entry.path());
                }
            }
            _ => {}
        }
    }
}

/// Whether a file of this name is on its way to its place, or was.
fn is_unfinished(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbered = |name: &str| {
        let (_, numbers) = name.strip_suffix(UNFINISHED)?.rsplit_once('.')?;
        let (process, number) = numbers.split_once('-')?;
        Some(is_number(process) && is_number(number))
    };
    name == CLAIM || numbered(name).unwrap_or(false)
}

/// Whether there is nothing in a folder, or only what was left half written.
///
/// # Errors
/// When the folder cannot be read.
pub fn is_empty(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if !is_unfinished(&entry?.file_name().to_string_lossy()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a folder can be filled: there is none yet, or nothing is in it but what was left half written.
pub fn is_free(folder: &Path) -> bool {
    !folder.exists() || is_empty(folder).unwrap_or(false)
}

/// The right to write into a folder. It ends when this is dropped; a folder that was empty should no longer be so by then.
pub struct Claim {
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl Claim {
    /// Claims an empty folder that is there. `None` if it is not empty or another process has claimed it; of several that try at
    /// once, one succeeds.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub fn of(folder: &Path) -> io::Result<Option<Self>> {
        let claim = Self::of_any(folder)?;
        Ok(if is_empty(folder)? { claim } else { None })
    }

    /// The same of a folder that may hold anything.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn of_any(folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join(CLAIM);
        loop {
            let (file, is_new) = match File::create_new(&path) {
                Ok(file) => (file, true),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => match File::options().write(true).open(&path)
                {
                    Ok(file) => (file, false),
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            };
            match file.try_lock() {
                Ok(()) if !is_at(&file, &path) => continue,
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                // A file system without locks: who made the file has the folder.
                Err(TryLockError::Error(_)) if is_new => {}
                Err(TryLockError::Error(_)) => return Ok(None),
            }
            return Ok(Some(Self { path, _file: file }));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A file that grows at its end, perhaps over several runs of the program. One process at a time has it.
pub struct Part {
    path: PathBuf,
    /// Holds the lock.
    file: File,
    len: u64,
}

impl Part {
    /// Opens the file, which need not be there. `None` where another process has it.
    ///
    /// # Errors
    /// When it cannot be opened for writing.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let open = || -> io::Result<Option<Self>> {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
            // Some file systems know no locks. There is nothing better there.
            if let Err(TryLockError::WouldBlock) = file.try_lock() {
                return Ok(None);
            }
            // Its holder may have removed it in between.
            if !is_at(&file, path) {
                return Ok(None);
            }
            let len = file.metadata()?.len();
            Ok(Some(Self { path: path.to_path_buf(), file, len }))
        };
        named(open(), path)
    }

    /// A new file.
    ///
    /// # Errors
    /// When there is such a file already, or it cannot be opened for writing.
    pub fn create(path: &Path) -> Result<Self> {
        let file = named(File::create_new(path), path)?;
        Ok(Self { path: path.to_path_buf(), file, len: 0 })
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Adds bytes at its end.
    ///
    /// # Errors
    /// When they cannot be written. What was there stays.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.seek(SeekFrom::Start(self.len)).and_then(|_| self.file.write_all(bytes));
        self.len = self.file.metadata().map_or(self.len, |metadata| metadata.len());
        named(written, &self.path)
    }

    /// Removes all of its content.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn clear(&mut self) -> Result<()> {
        named(self.file.set_len(0), &self.path)?;
        self.len = 0;
        Ok(())
    }

    /// Its content from the beginning, read through the handle that holds the lock: on some systems no other can read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn content(&self) -> Result<File> {
        let content = || {
            let mut file = self.file.try_clone()?;
            file.rewind()?;
            io::Result::Ok(file)
        };
        content().with_context(|| format!("cannot read {}", self.path.display()))
    }

    /// Waits until all of it is on the disk.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn sync(&self) -> Result<()> {
        named(self.file.sync_all(), &self.path)
    }

    /// Removes the file.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))
    }
}

/// A folder that is filled under another name, and takes its own when all of it is there. Dropping it before removes it.
pub struct Staged {
    path: PathBuf,
}

impl Staged {
    /// An empty folder of this name; what an earlier process left in it is removed.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(path: &Path) -> Result<Self> {
        let make = || {
            match fs::remove_dir_all(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            fs::create_dir(path)
        };
        make().with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self { path: path.to_path_buf() })
    }

    /// Its path, while it is being filled.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a folder in it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, relative: &Path) -> Result<()> {
        let path = self.path.join(relative);
        fs::create_dir_all(&path).with_context(|| format!("cannot make the folder {}", path.display()))
    }

    /// Writes a new file in it, with the folders on its way. Returns its length in bytes.
    ///
    /// # Errors
    /// When there is such a file already, or it cannot be read or written.
    pub fn write(&self, relative: &Path, content: &mut dyn io::Read) -> Result<u64> {
        let path = self.path.join(relative);
        let mut write = || {
            fs::create_dir_all(path.parent().unwrap_or(&self.path))?;
            io::copy(content, &mut File::create_new(&path)?)
        };
        named(write(), &path)
    }

    /// Gives it its name, which may be that of an empty folder.
    ///
    /// # Errors
    /// When a folder with something in it has that name.
    pub fn rename(self, target: &Path) -> Result<()> {
        let rename = || {
            // Elsewhere than on Unix an empty folder would be in the way.
            match fs::remove_dir(target) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            sync_below(&self.path)?;
            fs::rename(&self.path, target)?;
            sync_folder(target)
        };
        rename().with_context(|| format!("cannot make the folder {}", target.display()))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // It has gone already where it was renamed.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Whether an open file is still the one that a path leads to: another process may have removed it.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let number =
            |metadata: io::Result<fs::Metadata>| metadata.ok().map(|metadata| (metadata.dev(), metadata.ino()));
        number(file.metadata()) == number(fs::metadata(path))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        for text in ["first", "second, and longer"] {
            write(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(names(folder.path()), ["a.csv"]);
    }

    #[test]
    fn a_table_has_its_header_without_rows_too() {
        #[derive(Default, Serialize)]
        struct Line {
            file: &'static str,
            count: usize,
            share: Option<f64>,
        }
        let table = |lines: &[Line]| String::from_utf8(rows(lines).unwrap()).unwrap();
        assert_eq!(table(&[]), "file,count,share\n");
        let lines = [Line { file: "a,b", count: 2, share: None }, Line { file: "c", count: 0, share: Some(0.5) }];
        assert_eq!(table(&lines), "file,count,share\n\"a,b\",2,\nc,0,0.5\n");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "").unwrap();
        let error = write(&path, b"text").unwrap_err();
        assert_eq!(error.to_string(), format!("cannot write {}", path.display()));
        assert_eq!(names(folder.path()), ["taken"]);
        let missing = folder.path().join("no/such/folder.csv");
        assert!(write(&missing, b"text").is_err() && write_new(&missing, b"text").is_err());
        assert!(check_writable(&missing).is_err() && check_writable(&path.join("inside/file")).is_err());
        check_writable(&folder.path().join("new.csv")).unwrap();
        assert_eq!(names(folder.path()), ["taken"]);
    }

    #[test]
    fn what_helps_where_there_is_no_room_is_told() {
        let told = |kind: ErrorKind| format!("{:#}", named::<()>(Err(kind.into()), Path::new("a/b")).unwrap_err());
        for (kind, remedy) in [
            (ErrorKind::StorageFull, "cannot write a/b (the disk is full: make room on it): "),
            (ErrorKind::QuotaExceeded, "cannot write a/b (your share of the disk is used up: make room in it): "),
            (
                ErrorKind::FileTooLarge,
                "cannot write a/b (it would exceed the limit on the size of files, `ulimit -f`: ",
            ),
            (ErrorKind::PermissionDenied, "cannot write a/b: "),
        ] {
            assert!(told(kind).starts_with(remedy), "{}", told(kind));
        }
        assert_eq!(free(Path::new("no/such/folder")).is_some_and(|bytes| bytes > 0), cfg!(unix));
        assert_eq!(existing(Path::new("src/no/such")), Path::new("src"));
    }

    /// Readers never see a part, and writers do not disturb one another.
    #[test]
    fn many_writers_of_one_file_leave_one_whole_version() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shared");
        let text = |writer: u8| vec![b'a' + writer; 20_000 + 1_000 * usize::from(writer)];
        write(&path, &text(0)).unwrap();
        thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| write(path, &text(writer)).unwrap()));
            }
            scope.spawn(|| (0..20).for_each(|_| sweep(folder.path())));
            for _ in 0..200 {
                let found = fs::read(&path).unwrap();
                assert_eq!(found, text(found[0] - b'a'));
            }
        });
        assert_eq!(names(folder.path()), ["shared"]);
    }

    #[test]
    fn of_many_that_write_a_new_file_one_succeeds() {
        for _ in 0..50 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("study.json");
            let barrier = Barrier::new(4);
            let written: Vec<bool> = thread::scope(|scope| {
                let write = |writer: u8| {
                    barrier.wait();
                    write_new(&path, &[writer; 9]).unwrap()
                };
                let writers: Vec<_> = (0..4).map(|writer| scope.spawn(move || write(writer))).collect();
                writers.into_iter().map(|writer| writer.join().unwrap()).collect()
            });
            assert_eq!(written.iter().filter(|written| **written).count(), 1, "{written:?}");
            let winner = written.iter().position(|written| *written).unwrap() as u8;
            assert_eq!(fs::read(&path).unwrap(), [winner; 9]);
            assert_eq!(names(folder.path()), ["study.json"]);
        }
    }

    #[test]
    fn what_was_left_is_swept_away_and_what_is_being_written_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("features");
        fs::create_dir(&below).unwrap();
        let own = ["notes.unfinished", "a.1.unfinished", "a.1-.unfinished", "unfinished", "x.1-2.unfinished.png"];
        let left = ["a.png.17-3.unfinished", "b.csv.1-1792838293829382938.unfinished", CLAIM];
        for name in own.iter().chain(&left) {
            fs::write(below.join(name), "half").unwrap();
        }
        let being_written = Unfinished::with(&below.join("c.png"), b"half").unwrap();
        sweep(folder.path());
        let mut expected = own.map(String::from).to_vec();
        expected.push(being_written.path.file_name().unwrap().to_str().unwrap().into());
        expected.sort();
        assert_eq!(names(&below), expected);
        sweep(&folder.path().join("nowhere"));
    }

    #[test]
    fn of_many_that_claim_a_folder_one_succeeds() {
        for _ in 0..100 {
            let folder = tempfile::tempdir().unwrap();
            let barrier = Barrier::new(4);
            let claims: Vec<_> = thread::scope(|scope| {
                let claim = || {
                    barrier.wait();
                    Claim::of(folder.path()).unwrap()
                };
                let claimants: Vec<_> = (0..4).map(|_| scope.spawn(claim)).collect();
                claimants.into_iter().map(|claimant| claimant.join().unwrap()).collect()
            });
            assert_eq!(claims.iter().flatten().count(), 1);
            drop(claims);
            assert!(names(folder.path()).is_empty());
        }
    }

    #[test]
    fn a_claim_that_was_left_is_taken_over_and_a_full_folder_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CLAIM), "").unwrap();
        drop(Claim::of(folder.path()).unwrap().expect("nobody holds it"));
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        assert!(Claim::of(folder.path()).unwrap().is_none());
        assert_eq!(names(folder.path()), ["config.json"]);
        // But by whoever goes on with what is in it, one at a time.
        let claim = Claim::of_any(folder.path()).unwrap().expect("nobody holds it");
        assert!(Claim::of_any(folder.path()).unwrap().is_none());
        drop(claim);
        assert!(Claim::of_any(folder.path()).unwrap().is_some());
        assert_eq!(names(folder.path()), ["config.json"]);
    }
}
