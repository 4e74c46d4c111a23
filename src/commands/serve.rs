//! `serve`: hands out the page of a folder, to browsers on this machine unless told otherwise.
//!
//! Who asks may be slow, broken or hostile: what is handed out was read before the first request, each request gets little memory and
//! time, and of many that hang the oldest make room for new ones.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use httparse::{EMPTY_HEADER, Header, Request, Status};

use crate::cli::ServeArgs;
use crate::terminal::say;

/// What is handed out for one address.
struct File {
    bytes: Vec<u8>,
    content_type: &'static str,
    /// The same compressed, by the name of the method, the smallest first.
    compressed: Vec<(&'static str, Vec<u8>)>,
}

/// Methods of compression that the page's build uses, and how their files end.
const COMPRESSED: [(&str, &str); 2] = [("br", "br"), ("gzip", "gz")];
/// The most connections that are open at once.
const AT_ONCE: usize = 64;
/// The most bytes of a request, and the most headers; a browser sends about one thousand, and twenty.
const LONGEST: usize = 1 << 14;
const MOST_HEADERS: usize = 100;
/// How long a client may take to send its request, and then to take the answer.
const TO_ASK: Duration = Duration::from_secs(10);
const TO_TAKE: Duration = Duration::from_secs(60);
/// How long, and for how many bytes, one that is refused is still listened to: closed upon at once, it would not hear why.
const TO_END: Duration = Duration::from_secs(1);
const MOST_UNHEARD: u64 = 1 << 20;

pub(super) fn serve(arguments: &ServeArgs) -> Result<()> {
    let ServeArgs { dir, host, port } = arguments;
    let files = read(dir)?;
    let listener = TcpListener::bind((*host, *port))
        .with_context(|| format!("--host {host} --port {port}: cannot listen there; choose another --port"))?;
    say(format!("the page is at http://{}/ (Ctrl-C ends this)", listener.local_addr()?));
    if !host.is_loopback() {
        say(
            "note: whoever reaches this machine at that address can open the page; without --host only this machine can",
        );
        say("browsers give a page their GPU over HTTPS only, but for addresses of their own machine");
    }
    let open = Open::default();
    thread::scope(|scope| {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept() else {
                // It went before it was met, or the system has no room for more now.
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            open.add(number, &stream);
            let (files, open) = (&files, &open);
            let work = move || {
                // A browser that has gone away does not matter.
                let _ = answer(files, &stream);
                open.remove(number);
            };
            // Without room for a thread the client is not answered.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
    });
    Ok(())
}

/// The connections that are open, the oldest first, with a number for each.
#[derive(Default)]
struct Open(Mutex<VecDeque<(u64, TcpStream)>>);

impl Open {
    /// Adds one. Where there are too many the oldest is closed: who still hangs there has had the most time.
    fn add(&self, number: u64, stream: &TcpStream) {
        let Ok(handle) = stream.try_clone() else { return };
        let mut open = self.0.lock().expect("no thread panics here");
        open.push_back((number, handle));
        if open.len() > AT_ONCE
            && let Some((_, oldest)) = open.pop_front()
        {
            // Its thread then finds no more to read, and nobody to write to.
            let _ = oldest.shutdown(Shutdown::Both);
        }
    }

    fn remove(&self, number: u64) {
        self.0.lock().expect("no thread panics here").retain(|(other, _)| *other != number);
    }
}

/// The files of a built page, by their addresses. Links that lead out of the folder are not followed.
fn read(dir: &Path) -> Result<HashMap<String, File>> {
    let shown = dir.display();
    let remedy = "build the page by `npm --prefix web ci && npm --prefix web run build`, or name its folder";
    let root = dir.canonicalize().with_context(|| format!("--dir {shown}: cannot be read; {remedy}"))?;
    let is_inside = |path: &Path| path.canonicalize().is_ok_and(|path| path.starts_with(&root) && path.is_file());
    ensure!(is_inside(&root.join("index.html")), "--dir {shown}: there is no index.html: {remedy}");
    let mut files = HashMap::new();
    for entry in fs::read_dir(dir).with_context(|| format!("--dir {shown}"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let (Some(name), Some(content_type)) = (name, content_type(&path)) else { continue };
        if !is_inside(&path) {
            continue;
        }
        let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let mut compressed = Vec::new();
        for (method, ending) in COMPRESSED {
            let path = dir.join(format!("{name}.{ending}"));
            if is_inside(&path) {
                compressed.push((method, read(&path)?));
            }
        }
        let address = if name == "index.html" { "/".to_string() } else { format!("/{name}") };
        files.insert(address, File { bytes: read(&path)?, content_type, compressed });
    }
    Ok(files)
}

fn content_type(path: &Path) -> Option<&'static str> {
    Some(match path.extension()?.to_str()? {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "wasm" => "application/wasm",
        _ => return None,
    })
}

/// A connection that is given up at a time.
struct Patient<'a> {
    stream: &'a TcpStream,
    until: Instant,
}

impl<'a> Patient<'a> {
    fn new(stream: &'a TcpStream, patience: Duration) -> Self {
        Self { stream, until: Instant::now() + patience }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Patient<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(bytes)
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// What is sent back: the status, further headers, and the content.
struct Answer<'a> {
    status: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    content: &'a [u8],
    /// Whether the content is sent, and not only how long it is.
    whole: bool,
}

impl Answer<'_> {
    fn refusal(status: &'static str, why: &'static str) -> Self {
        let headers = vec![("Content-Type", "text/plain; charset=utf-8")];
        Self { status, headers, content: why.as_bytes(), whole: true }
    }

    fn send(&self, stream: &TcpStream) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {}\r\nConnection: close\r\n", self.status);
        let length = self.content.len().to_string();
        let others = [("Content-Length", &length[..]), ("X-Content-Type-Options", "nosniff")];
        for (name, value) in self.headers.iter().copied().chain(others) {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        let mut to = Patient::new(stream, TO_TAKE);
        to.write_all(head.as_bytes())?;
        if self.whole {
            to.write_all(self.content)?;
        }
        Ok(())
    }
}

/// Answers one request, and closes the connection.
fn answer(files: &HashMap<String, File>, stream: &TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    let mut from = Patient::new(stream, TO_ASK);
    let answer = loop {
        let mut part = [0; 4096];
        match from.read(&mut part)? {
            0 => return Ok(()),
            length => request.extend_from_slice(&part[..length]),
        }
        let mut headers = [EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = Request::new(&mut headers);
        match parsed.parse(&request) {
            Ok(Status::Complete(_)) => break to(files, &parsed),
            Ok(Status::Partial) if request.len() < LONGEST => {}
            Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                break Answer::refusal("431 Request Header Fields Too Large", "this request is too long");
            }
            Err(_) => break Answer::refusal("400 Bad Request", "this is no request"),
        }
    };
    answer.send(stream)?;
    stream.shutdown(Shutdown::Write)?;
    io::copy(&mut Patient::new(stream, TO_END).take(MOST_UNHEARD), &mut io::sink())?;
    Ok(())
}

/// The answer to a request that was read.
fn to<'a>(files: &'a HashMap<String, File>, request: &Request) -> Answer<'a> {
    let address = request.path.unwrap_or_default().split('?').next().unwrap_or_default();
    let Some(file) = files.get(if address == "/index.html" { "/" } else { address }) else {
        return Answer::refusal("404 Not Found", "there is no such file");
    };
    let whole = match request.method {
        Some("GET") => true,
        Some("HEAD") => false,
        _ => return Answer::refusal("405 Method Not Allowed", "these files can only be read"),
    };
    let accepts = |header: &&Header| header.name.eq_ignore_ascii_case("Accept-Encoding");
    let accepted = |method: &str| {
        let values = request.headers.iter().filter(accepts).filter_map(|header| str::from_utf8(header.value).ok());
        let mut methods = values.flat_map(|value| value.split(','));
        methods.any(|wanted| wanted.split(';').next().is_some_and(|wanted| wanted.trim() == method))
    };
    let (encoding, content) = match file.compressed.iter().find(|(method, _)| accepted(method)) {
        Some((method, bytes)) => (Some(("Content-Encoding", *method)), bytes),
        None => (None, &file.bytes),
    };
    let mut headers =
        vec![("Content-Type", file.content_type), ("Vary", "Accept-Encoding"), ("Cache-Control", "no-cache")];
    headers.extend(encoding);
    Answer { status: "200 OK", headers, content, whole }
}
