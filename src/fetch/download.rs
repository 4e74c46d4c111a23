//! One file from the web, in as many attempts as it takes.

use std::io::Read;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::Archive;
use crate::disk::Part;

/// How long to wait, and how often to try.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection, for an answer, and for each part of it.
    pub wait: Duration,
    /// Attempts in a row that brought nothing, until it is given up.
    pub attempts: u32,
    /// Before the second attempt; before each further one twice as long.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { wait: Duration::from_secs(60), attempts: 5, pause: Duration::from_secs(1) }
    }
}

/// Why an attempt ended early.
enum Failure {
    /// Another attempt may succeed.
    Passing(anyhow::Error),
    /// It is of no use to try again.
    Final(anyhow::Error),
}

/// Brings the file to its full size, from where it is.
pub(super) fn download(
    archive: &Archive,
    part: &mut Part,
    patience: Patience,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let agent: Agent = Agent::config_builder()
        .user_agent(concat!("convscope/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .timeout_connect(Some(patience.wait))
        .timeout_recv_response(Some(patience.wait))
        .timeout_per_read(Some(patience.wait))
        .build()
        .into();
    if part.len() > archive.size {
        part.clear()?;
    }
    let mut in_vain = 0;
    while part.len() < archive.size {
        let before = part.len();
        progress(before);
        let failure = match attempt(&agent, archive, part, progress) {
            Ok(()) => continue,
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Passing(error)) => error,
        };
        in_vain = if part.len() > before { 0 } else { in_vain + 1 };
        if in_vain == patience.attempts {
            bail!(
                "{}: {failure:#}, {in_vain} times in a row. {} of {} bytes are kept; run this again to go on",
                archive.url,
                part.len(),
                archive.size
            );
        }
        thread::sleep(patience.pause * 2_u32.pow(in_vain.saturating_sub(1)));
    }
    part.sync()
}

/// Asks once for what is missing, and takes what comes.
fn attempt(agent: &Agent, archive: &Archive, part: &mut Part, progress: &mut dyn FnMut(u64)) -> Result<(), Failure> {
    let Archive { url, size, .. } = archive;
    let request = agent.get(url).header(RANGE, format!("bytes={}-", part.len()));
    let response = request.call().map_err(|error| match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            Failure::Final(anyhow!("{url}: is no address of a file on the web"))
        }
        error => Failure::Passing(anyhow!("the server cannot be reached ({error})")),
    })?;
    let (start, offered) = match response.status() {
        // The server sends the whole file, whatever was asked for.
        StatusCode::OK => (0, number(&response, CONTENT_LENGTH.as_str())),
        StatusCode::PARTIAL_CONTENT => match content_range(&response) {
            Some((start, all)) if start == part.len() => (start, Some(all)),
            _ => return Err(Failure::Passing(anyhow!("the server sent another part than was asked for"))),
        },
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Err(Failure::Passing(anyhow!("the server answered {status}")));
        }
        status => {
            return Err(Failure::Final(anyhow!("{url}: the server answered {status}; is the address still right?")));
        }
    };
    if offered != Some(*size) {
        let offered = offered.map_or("an unknown number of".into(), |offered| offered.to_string());
        return Err(Failure::Final(anyhow!(
            "{url} has {offered} bytes where {size} are expected: either something on the way answered, such as a page to log in, or the \
             archive has changed and this version of convscope does not know it"
        )));
    }
    if start == 0 {
        part.clear().map_err(Failure::Final)?;
    }

    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    while part.len() < *size {
        let room = buffer.len().min((size - part.len()) as usize);
        match body.read(&mut buffer[..room]) {
            Ok(0) => return Err(Failure::Passing(anyhow!("the connection was closed early"))),
            Ok(read) => part.append(&buffer[..read]).map_err(Failure::Final)?,
            Err(error) => return Err(Failure::Passing(anyhow!("the connection broke off ({error})"))),
        }
        progress(part.len());
    }
    Ok(())
}

/// Where the part of the file begins, and how many bytes the file has: `bytes 100-199/5000`.
fn content_range(response: &Response<Body>) -> Option<(u64, u64)> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (start, rest) = range.split_once('-')?;
    let (_, all) = rest.split_once('/')?;
    Some((start.parse().ok()?, all.parse().ok()?))
}

fn number(response: &Response<Body>, header: &str) -> Option<u64> {
    response.headers().get(header)?.to_str().ok()?.parse().ok()
}
