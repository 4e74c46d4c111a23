use std::io::{BufRead, BufReader, Cursor, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rand::RngExt;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;
use crate::data::random;

/// What the server does with one request.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// Sends what is asked for.
    Right,
    /// Sends so many bytes of it and closes the connection.
    Cut(usize),
    /// Sends the whole file, whatever part is asked for.
    Whole,
    /// Sends a page instead, with its length or without.
    Page(bool),
    /// Sends the part that begins one byte later.
    Beside,
    /// Sends nothing for a while.
    Silent,
    /// Sends this status alone.
    Status(&'static str),
}

/// A server on this machine that hands out one file: the first request gets the first answer, and so on; then all are right.
struct Server {
    url: String,
    /// The first byte that each request asked for.
    asked: Arc<Mutex<Vec<usize>>>,
}

impl Server {
    fn new(file: Vec<u8>, answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/archive.zip", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers: Vec<Answer> = answers.into();
        let mut answers = answers.into_iter();
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let first = first_byte(&stream);
                log.lock().unwrap().push(first);
                let answer = answers.next().unwrap_or(Answer::Right);
                let file = file.clone();
                // A client that has enough closes the connection.
                thread::spawn(move || send(stream, &file, first, answer));
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<usize> {
        self.asked.lock().unwrap().clone()
    }
}

/// Reads a request, and where the part begins that it asks for.
fn first_byte(stream: &TcpStream) -> usize {
    let lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let ranges: Vec<String> = lines.filter(|line| line.to_lowercase().starts_with("range:")).collect();
    let [range] = &ranges[..] else { panic!("there is one range: {ranges:?}") };
    range.split(['=', '-']).nth(1).unwrap().parse().unwrap()
}

fn send(mut stream: TcpStream, file: &[u8], first: usize, answer: Answer) -> io::Result<()> {
    let all = file.len();
    let mut part = |status: &str, bytes: Range<usize>, sent: usize| {
        let Range { start, end } = bytes;
        let length = end - start;
        write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n")?;
        write!(stream, "Content-Range: bytes {start}-{}/{all}\r\n\r\n", end.saturating_sub(1))?;
        stream.write_all(&file[start..end.min(start + sent)])
    };
    match answer {
        Answer::Right => part("206 Partial Content", first..all, all),
        Answer::Cut(sent) => part("206 Partial Content", first..all, sent),
        Answer::Whole => part("200 OK", 0..all, all),
        Answer::Page(told) => {
            let length = if told { "Content-Length: 8\r\n" } else { "" };
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n{length}\r\nlog in!!")
        }
        Answer::Beside => part("206 Partial Content", (first + 1).min(all)..all, all),
        Answer::Silent => {
            thread::sleep(Duration::from_secs(2));
            Ok(())
        }
        Answer::Status(status) => part(status, 0..0, 0),
    }
}

/// Little patience, so that tests are quick.
const PATIENCE: Patience = Patience { wait: Duration::from_millis(500), attempts: 3, pause: Duration::from_millis(1) };

/// Some files, and an archive of them.
fn sample() -> (Vec<(&'static str, Vec<u8>)>, Vec<u8>) {
    let mut rng = random("archive", 0, 0);
    let mut noise = |bytes: usize| (0..bytes).map(|_| rng.random()).collect::<Vec<u8>>();
    let files = vec![
        ("PetImages/Cat/0.jpg", noise(40_000)),
        ("PetImages/Cat/1.jpg", Vec::new()),
        ("PetImages/Dog/0.jpg", vec![7; 100_000]),
        ("PetImages/Dog/1.jpg", noise(3_000)),
        ("readme[1].txt", b"the terms".to_vec()),
    ];
    let zipped = zipped(&files);
    (files, zipped)
}

fn zipped(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn archive(url: &str, content: &[u8]) -> Archive {
    let size = content.len() as u64;
    let sha256 = Digest::of(content).to_string();
    Archive { url: url.into(), size, sha256, unpacked: 1 << 20, entries: 100, folder: "PetImages".into() }
}

fn fetched(archive: &Archive, dir: &Path) -> Result<Fetched> {
    fetch(archive, dir, PATIENCE, &mut |_, done, all| assert!(done <= all, "{done} of {all}"))
}

/// All files below a folder, with their content.
fn found(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/");
                files.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

fn assert_complete(root: &TempDir, files: &[(&str, Vec<u8>)]) {
    let expected: Vec<_> = files.iter().map(|(name, content)| (format!("pets/{name}"), content.clone())).collect();
    assert_eq!(found(root.path()), expected);
}

#[test]
fn cut_connections_go_on_where_they_were() {
    let (files, content) = sample();
    let mut rng = random("cuts", 0, 0);
    for round in 0..20 {
        let mut cuts = vec![0];
        let answers: Vec<Answer> = (0..6)
            .map(|_| {
                let sent = rng.random_range(0..content.len() / 6);
                cuts.push(cuts.last().unwrap() + sent);
                Answer::Cut(sent)
            })
            .collect();
        let server = Server::new(content.clone(), &answers);
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("pets");
        let made = fetched(&archive(&server.url, &content), &dir).unwrap();
        assert_eq!((made, server.asked()), (Fetched::Now, cuts), "round {round}");
        assert_complete(&root, &files);
    }
}

#[test]
fn what_passes_is_tried_again() {
    let (files, content) = sample();
    for answer in [
        Answer::Status("503 Service Unavailable"),
        Answer::Status("429 Too Many Requests"),
        Answer::Silent,
        Answer::Beside,
    ] {
        let server = Server::new(content.clone(), &[Answer::Cut(1000), answer]);
        let root = tempfile::tempdir().unwrap();
        fetched(&archive(&server.url, &content), &root.path().join("pets")).unwrap();
        assert_eq!(server.asked(), [0, 1000, 1000], "{answer:?}");
        assert_complete(&root, &files);
    }
}

/// A server that cannot send parts makes the download begin anew.
#[test]
fn a_server_without_parts_serves() {
    let (files, content) = sample();
    for answers in [vec![Answer::Whole], vec![Answer::Cut(5_000), Answer::Whole]] {
        let server = Server::new(content.clone(), &answers);
        let root = tempfile::tempdir().unwrap();
        fetched(&archive(&server.url, &content), &root.path().join("pets")).unwrap();
        assert_complete(&root, &files);
    }
}

#[test]
fn another_call_goes_on_where_one_was_given_up() {
    let (files, content) = sample();
    let mut answers = vec![Answer::Cut(30_000)];
    answers.extend([Answer::Cut(0); 3]);
    let server = Server::new(content.clone(), &answers);
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("pets");
    let archive = archive(&server.url, &content);
    let error = format!("{:#}", fetched(&archive, &dir).unwrap_err());
    assert!(error.contains("30000 of") && error.contains("run this again to go on"), "{error}");
    assert_eq!(found(root.path()).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["pets.zip.part"]);

    assert_eq!(fetched(&archive, &dir).unwrap(), Fetched::Now);
    assert_eq!(server.asked(), [0, 30_000, 30_000, 30_000, 30_000]);
    assert_complete(&root, &files);
    assert_eq!(fetched(&archive, &dir).unwrap(), Fetched::Before);
    assert_eq!(server.asked().len(), 5);
}

#[test]
fn what_is_of_no_use_is_not_tried_again() {
    let (_, content) = sample();
    let server = Server::new(content.clone(), &[Answer::Status("404 Not Found")]);
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("pets");
    let error = format!("{:#}", fetched(&archive(&server.url, &content), &dir).unwrap_err());
    assert!(error.contains(&server.url) && error.contains("404"), "{error}");
    let other = Archive { size: 5, ..archive(&server.url, &content) };
    let error = format!("{:#}", fetched(&other, &dir).unwrap_err());
    assert!(error.contains(&content.len().to_string()) && error.contains("has changed"), "{error}");
    assert_eq!(server.asked(), [0, 0]);
    for nowhere in ["no address", "file:///tmp/archive.zip", "http://", "https://a b/"] {
        let error = format!("{:#}", fetched(&archive(nowhere, &content), &dir).unwrap_err());
        assert!(error.contains(nowhere) && error.contains("is no address"), "{error}");
    }
    assert!(!dir.exists());
}

/// What answers in the server's place, such as the login page of a hotel, costs nothing of what is kept.
#[test]
fn a_page_instead_of_the_archive_changes_nothing() {
    let (files, content) = sample();
    for told in [true, false] {
        let server = Server::new(content.clone(), &[Answer::Cut(9_000), Answer::Page(told)]);
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("pets");
        let error = format!("{:#}", fetched(&archive(&server.url, &content), &dir).unwrap_err());
        assert!(error.contains("such as a page to log in"), "{error}");
        fetched(&archive(&server.url, &content), &dir).unwrap();
        assert_eq!(server.asked(), [0, 9_000, 9_000]);
        assert_complete(&root, &files);
    }
}

#[test]
fn another_content_is_refused_and_removed() {
    let (_, content) = sample();
    for place in [0, content.len() / 2, content.len() - 1] {
        let mut damaged = content.clone();
        damaged[place] ^= 1;
        let server = Server::new(damaged, &[Answer::Cut(100)]);
        let root = tempfile::tempdir().unwrap();
        let error = format!("{:#}", fetched(&archive(&server.url, &content), &root.path().join("pets")).unwrap_err());
        assert!(error.contains("another content") && error.contains("run this again"), "{error}");
        assert_eq!(found(root.path()), [], "{place}");
    }
}

#[test]
fn a_folder_with_something_else_in_it_is_refused() {
    let (_, content) = sample();
    let server = Server::new(content.clone(), &[]);
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("mine"), "text").unwrap();
    for dir in [root.path().to_path_buf(), root.path().join("mine")] {
        let error = fetched(&archive(&server.url, &content), &dir).unwrap_err().to_string();
        assert!(error.contains("is not an empty folder"), "{error}");
    }
    assert_eq!((found(root.path()), server.asked()), (vec![("mine".into(), b"text".to_vec())], vec![]));
}

#[test]
fn only_one_process_fetches_into_a_folder() {
    let (files, content) = sample();
    let server = Server::new(content.clone(), &[]);
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("pets");
    let held = disk::Part::open(&root.path().join("pets.zip.part")).unwrap().unwrap();
    let error = fetched(&archive(&server.url, &content), &dir).unwrap_err().to_string();
    assert!(error.contains("another process"), "{error}");
    drop(held);
    fetched(&archive(&server.url, &content), &dir).unwrap();
    assert_complete(&root, &files);
}

/// An archive with a name that no well-meaning program writes: that of `files` whose name has the same length is changed.
fn renamed(files: &[(&str, Vec<u8>)], name: &str) -> Vec<u8> {
    let innocent = "x".repeat(name.len());
    let mut files = files.to_vec();
    files.push((&innocent, b"out".to_vec()));
    let mut content = zipped(&files);
    let places: Vec<usize> =
        (0..content.len() - name.len()).filter(|&at| content[at..].starts_with(innocent.as_bytes())).collect();
    assert_eq!(places.len(), 2, "before the file and in the directory");
    places.iter().for_each(|&at| content[at..][..name.len()].copy_from_slice(name.as_bytes()));
    content
}

#[test]
fn nothing_of_a_hostile_archive_gets_out() {
    let (files, whole) = sample();
    let outside = "/tmp/convscope-from-an-archive";
    let mut hostile: Vec<(&str, Vec<u8>, &str)> =
        ["../out", outside, "PetImages/../../out", "a\\..\\..\\out", "C:/out", "a\0b", "a/./b"]
            .iter()
            .map(|name| ("no plain name", renamed(&files, name), *name))
            .collect();
    let link = |target: &str| {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        archive.add_symlink("PetImages", target, SimpleFileOptions::default()).unwrap();
        archive.start_file("PetImages/out", SimpleFileOptions::default()).unwrap();
        archive.finish().unwrap().into_inner()
    };
    hostile.push(("neither a file nor a folder", link(".."), "a link"));
    hostile.push(("neither a file nor a folder", link("/etc/passwd"), "a link to a file"));
    hostile.push(("more than the 1048576 bytes", zipped(&[("PetImages/big", vec![0; 1 << 21])]), "too large"));
    let many: Vec<(String, Vec<u8>)> = (0..20).map(|n| (format!("PetImages/{n}"), vec![0; 1 << 16])).collect();
    let many: Vec<(&str, Vec<u8>)> = many.iter().map(|(name, content)| (name.as_str(), content.clone())).collect();
    hostile.push(("more than the 1048576 bytes", zipped(&many), "too large together"));
    let names: Vec<String> = (0..101).map(|n| format!("PetImages/{n}")).collect();
    let many: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (name.as_str(), Vec::new())).collect();
    hostile.push(("101 entries, more than the 100", zipped(&many), "too many"));
    hostile.push(("no folder PetImages", zipped(&[("readme", vec![1])]), "something else"));
    hostile.push((
        "cannot unpack",
        zipped(&[("PetImages", vec![1]), ("PetImages/a", vec![1])]),
        "a folder that is a file",
    ));
    hostile.push(("cannot unpack", whole[..whole.len() / 2].to_vec(), "half of it"));
    hostile.push(("cannot unpack", whole[50..].to_vec(), "without its beginning"));
    hostile.push(("cannot unpack", b"no archive".to_vec(), "no archive"));
    hostile.push(("cannot unpack", Vec::new(), "empty"));
    for (message, content, what) in hostile {
        let server = Server::new(content.clone(), &[]);
        let root = tempfile::tempdir().unwrap();
        let done = fetched(&archive(&server.url, &content), &root.path().join("pets"));
        let error = done.err().map_or_else(String::new, |error| format!("{error:#}"));
        assert!(error.contains(message), "{what}: {error}");
        let left: Vec<String> = found(root.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(left, ["pets.zip.part"], "{what}");
        assert!(!Path::new(outside).exists() && !root.path().join("pets").exists(), "{what}");
    }
}
