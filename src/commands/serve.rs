//! `serve`: hands out the page of a folder, to browsers on this machine unless told otherwise.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use tiny_http::{Header, Method, Request, Response, Server};

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

pub(super) fn serve(arguments: &ServeArgs) -> Result<()> {
    let ServeArgs { dir, host, port } = arguments;
    let files = read(dir)?;
    let server = Server::http((*host, *port))
        .map_err(|error| anyhow!("--host {host} --port {port}: cannot listen there: {error}; choose another --port"))?;
    say(format!("the page is at http://{}/ (Ctrl-C ends this)", server.server_addr()));
    if !host.is_loopback() {
        say("browsers give a page their GPU over HTTPS only, but for addresses of their own machine");
    }
    for request in server.incoming_requests() {
        // A browser that has gone away does not matter.
        let _ = answer(&files, request);
    }
    Ok(())
}

/// The files of a built page, by their addresses.
fn read(dir: &Path) -> Result<HashMap<String, File>> {
    let shown = dir.display();
    let remedy = "build the page by `npm --prefix web ci && npm --prefix web run build`, or name its folder";
    ensure!(dir.join("index.html").is_file(), "--dir {shown}: there is no index.html: {remedy}");
    let mut files = HashMap::new();
    for entry in fs::read_dir(dir).with_context(|| format!("--dir {shown}"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let (Some(name), Some(content_type)) = (name, content_type(&path)) else { continue };
        let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let mut compressed = Vec::new();
        for (method, ending) in COMPRESSED {
            let path = dir.join(format!("{name}.{ending}"));
            if path.is_file() {
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

fn answer(files: &HashMap<String, File>, request: Request) -> std::io::Result<()> {
    let address = request.url().split('?').next().unwrap_or_default();
    let file = files.get(if address == "/index.html" { "/" } else { address });
    let Some(file) = file else {
        return request.respond(Response::from_string("there is no such file").with_status_code(404));
    };
    if !matches!(request.method(), Method::Get | Method::Head) {
        return request.respond(Response::from_string("these files can only be read").with_status_code(405));
    }
    let accepted = |method: &str| {
        let accepts = request.headers().iter().filter(|header| header.field.equiv("Accept-Encoding"));
        let mut methods = accepts.flat_map(|header| header.value.as_str().split(','));
        methods.any(|wanted| wanted.split(';').next().is_some_and(|wanted| wanted.trim() == method))
    };
    let (encoding, bytes) = match file.compressed.iter().find(|(method, _)| accepted(method)) {
        Some((method, bytes)) => (Some(*method), bytes),
        None => (None, &file.bytes),
    };
    let mut response = Response::from_data(bytes.clone());
    let headers = [("Content-Type", Some(file.content_type)), ("Content-Encoding", encoding)];
    let others = [
        ("Vary", Some("Accept-Encoding")),
        ("Cache-Control", Some("no-cache")),
        ("X-Content-Type-Options", Some("nosniff")),
    ];
    for (name, value) in headers.into_iter().chain(others) {
        if let Some(value) = value {
            response.add_header(Header::from_bytes(name, value).expect("these are ASCII"));
        }
    }
    request.respond(response)
}
