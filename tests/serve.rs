//! `convscope serve` from outside.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

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

    /// Head and body of the answer.
    fn ask(&self, request: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "{request}\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address).unwrap();
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

    for address in ["/notes.txt", "/app.js.br", "/../secret.html", "/%2e%2e/secret.html", "//etc/passwd", "/nothing"] {
        let (head, _) = server.ask(&format!("GET {address} HTTP/1.1"));
        assert!(head.starts_with("HTTP/1.1 404"), "{address}: {head}");
    }
    let (head, _) = server.ask("DELETE /app.js HTTP/1.1");
    assert!(head.starts_with("HTTP/1.1 405"), "{head}");
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
