//! `convscope serve` from outside.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut child = command(folder, &["--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect(&line).to_string();
        Self { child, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Head and body of the answer.
    fn ask(&self, request: &str) -> (String, Vec<u8>) {
        self.send(format!("{request}\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address).as_bytes())
    }

    /// Head and body of the answer to these bytes.
    fn send(&self, bytes: &[u8]) -> (String, Vec<u8>) {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
        (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_convscope"));
    command.arg("serve").arg("--dir").arg(folder).args(arguments);
    command
}

fn built_page(folder: &Path) -> &Path {
    fs::create_dir(folder).unwrap();
    let files: [(&str, &[u8]); 5] = [
        ("index.html", b"<!doctype html>"),
        ("app.js", b"plain script"),
        ("app.js.br", b"small script"),
        ("engine.wasm", b"\0asm"),
        ("notes.txt", b"not of the page"),
    ];
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
    folder
}

#[test]
fn the_page_is_handed_out_and_nothing_else() {
    let outer = tempfile::tempdir().unwrap();
    let inner = outer.path().join("page");
    let folder = built_page(&inner);
    fs::write(outer.path().join("secret.html"), "secret").unwrap();
    let server = Server::start(folder);
    assert!(server.address.starts_with("127.0.0.1:"), "{}", server.address);
    for (address, content_type, bytes) in [
        ("/", "text/html; charset=utf-8", &b"<!doctype html>"[..]),
        ("/index.html?data=digits", "text/html; charset=utf-8", b"<!doctype html>"),
        ("/app.js", "text/javascript; charset=utf-8", b"plain script"),
        ("/engine.wasm", "application/wasm", b"\0asm"),
    ] {
        let (head, body) = server.ask(&format!("GET {address} HTTP/1.1"));
        assert!(head.starts_with("HTTP/1.1 200"), "{address}: {head}");
        assert!(head.contains(&format!("Content-Type: {content_type}")), "{address}: {head}");
        assert_eq!(body, bytes, "{address}");
    }
    let (head, body) = server.ask("GET /app.js HTTP/1.1\r\nAccept-Encoding: gzip;q=0.5, br");
    assert!(head.contains("Content-Encoding: br") && body == b"small script", "{head}");
    let (head, body) = server.ask("GET /app.js HTTP/1.1\r\nAccept-Encoding: brown");
    assert!(!head.contains("Content-Encoding") && body == b"plain script", "{head}");

    let whole = outer.path().join("secret.html").display().to_string();
    for address in [
        "/notes.txt",
        "/app.js.br",
        "/../secret.html",
        "/..",
        "/page/../../secret.html",
        "/%2e%2e/secret.html",
        "/%2e%2e%2fsecret.html",
        "/..%5csecret.html",
        "/..\\secret.html",
        "/app.js%00",
        "//etc/passwd",
        "/etc/passwd",
        &whole,
        "file:///etc/passwd",
        "http://127.0.0.1/../secret.html",
        "/nothing",
        "*",
    ] {
        let (head, body) = server.ask(&format!("GET {address} HTTP/1.1"));
        assert!(head.starts_with("HTTP/1.1 404"), "{address}: {head}");
        assert_eq!(body, b"there is no such file");
    }
    let (head, body) = server.ask("HEAD /app.js HTTP/1.1");
    assert!(head.contains("200 OK") && head.contains("Content-Length: 12") && body.is_empty(), "{head}");
    for method in ["DELETE", "PUT", "POST", "TRACE"] {
        let (head, _) = server.ask(&format!("{method} /app.js HTTP/1.1"));
        assert!(head.starts_with("HTTP/1.1 405"), "{head}");
    }
}

/// Links are followed within the folder alone; what is no file is left out.
#[cfg(unix)]
#[test]
fn links_out_of_the_folder_are_not_followed() {
    use std::os::unix::fs::symlink;
    let outer = tempfile::tempdir().unwrap();
    let inner = outer.path().join("page");
    let folder = built_page(&inner);
    fs::write(outer.path().join("secret.html"), "secret").unwrap();
    fs::create_dir(folder.join("folder.js")).unwrap();
    for (link, target) in [
        ("out.html", "../secret.html"),
        ("system.css", "/etc/passwd"),
        ("engine.wasm.br", "../secret.html"),
        ("up.js", ".."),
        ("broken.js", "nowhere"),
        ("within.js", "app.js"),
    ] {
        symlink(target, folder.join(link)).unwrap();
    }
    assert!(Command::new("mkfifo").arg(folder.join("pipe.js")).status().unwrap().success());
    let server = Server::start(folder);
    for address in ["/out.html", "/system.css", "/up.js", "/broken.js", "/folder.js", "/pipe.js"] {
        let (head, _) = server.ask(&format!("GET {address} HTTP/1.1"));
        assert!(head.starts_with("HTTP/1.1 404"), "{address}: {head}");
    }
    let (head, body) = server.ask("GET /engine.wasm HTTP/1.1\r\nAccept-Encoding: br");
    assert!(!head.contains("Content-Encoding") && body == b"\0asm", "{head}");
    assert_eq!(server.ask("GET /within.js HTTP/1.1").1, b"plain script");
}

/// Clients that hang, send too much, or send what is no request do not keep others waiting, and take little memory.
#[test]
fn slow_and_broken_clients_do_not_keep_others_waiting() {
    let outer = tempfile::tempdir().unwrap();
    let inner = outer.path().join("page");
    let folder = built_page(&inner);
    // More than the system holds between the two.
    fs::write(folder.join("engine.wasm"), vec![0; 24 << 20]).unwrap();
    let server = Server::start(folder);
    let works = |after: &str| {
        let started = Instant::now();
        let (head, body) = server.ask("GET /app.js HTTP/1.1");
        assert!(head.starts_with("HTTP/1.1 200") && body == b"plain script", "{after}: {head}");
        assert!(started.elapsed() < Duration::from_secs(5), "{after}: {:?}", started.elapsed());
    };
    works("nothing");
    let half: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
            stream
        })
        .collect();
    works("half requests");
    let silent: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    works("silence");
    let unread: Vec<TcpStream> = (0..10)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(b"GET /engine.wasm HTTP/1.1\r\n\r\n").unwrap();
            stream
        })
        .collect();
    works("answers that nobody reads");
    for _ in 0..200 {
        drop(server.connect());
    }
    works("connections that end at once");
    for _ in 0..50 {
        let mut stream = server.connect();
        stream.write_all(b"GET /engine.wasm HTTP/1.1\r\n\r\n").unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    }
    works("answers that nobody waits for");

    let status = |bytes: &[u8]| server.send(bytes).0.lines().next().unwrap_or_default().to_string();
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(100_000));
    assert_eq!(status(long.as_bytes()), "HTTP/1.1 431 Request Header Fields Too Large");
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    assert_eq!(status(many.as_bytes()), "HTTP/1.1 431 Request Header Fields Too Large");
    let address = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000));
    assert_eq!(status(address.as_bytes()), "HTTP/1.1 431 Request Header Fields Too Large");
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /app.js\0 HTTP/1.1\r\n\r\n",
        b"\0\0\0\0",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    ] {
        assert_eq!(status(bytes), "HTTP/1.1 400 Bad Request", "{bytes:?}");
    }
    works("what is no request");

    // More than is ever listened to.
    let mut endless = server.connect();
    let _ = endless.write_all(b"GET / HTTP/1.1\r\nX: ");
    let sent = (0..64).take_while(|_| endless.write_all(&[b'a'; 1 << 20]).is_ok()).count();
    assert!(sent < 64, "it is cut off");
    works("a header without an end");
    #[cfg(target_os = "linux")]
    {
        let told = fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
        let most = told.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let most: usize = most.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(most < 128 << 10, "{most} KiB of memory, with 24 MiB of files");
    }
    drop((half, silent, unread));
}

#[test]
fn what_is_wrong_is_told_with_the_remedy() {
    let empty = tempfile::tempdir().unwrap();
    let output = command(empty.path(), &[]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && stderr.contains("--dir") && stderr.contains("npm"), "{stderr}");

    let inner = empty.path().join("page");
    let folder = built_page(&inner);
    let server = Server::start(folder);
    let port = server.address.split(':').nth(1).unwrap();
    let output = command(folder, &["--port", port]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && stderr.contains("another --port"), "{stderr}");
}

/// Only this machine is answered; others too where that is asked for, which is said.
#[test]
fn others_are_answered_only_where_that_is_asked_for() {
    let outer = tempfile::tempdir().unwrap();
    let inner = outer.path().join("page");
    let folder = built_page(&inner);
    for (host, open) in [("127.0.0.1", false), ("0.0.0.0", true)] {
        let mut child = command(folder, &["--port", "0", "--host", host]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        assert!(first.contains(&format!("http://{host}:")), "{first}");
        if open {
            let [note, limit] = [(); 2].map(|()| lines.next().unwrap().unwrap());
            assert!(note.starts_with("note: whoever reaches this machine at that address can open the page"), "{note}");
            assert!(limit.starts_with("browsers give a page their GPU over HTTPS only"), "{limit}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(lines.count(), 0, "no more is said");
    }
}
