//! `data fetch`: photos from the web.

use std::path::PathBuf;

use anyhow::Result;

use crate::cli::{DataSet, FetchArgs};
use crate::commands::stop::say_when_stopped;
use crate::fetch::{self, Archive, Fetched, Patience, Stage};
use crate::terminal::{bar, quoted, say};

const MIB: u64 = 1 << 20;

pub(super) fn fetch(arguments: &FetchArgs) -> Result<()> {
    let FetchArgs { data, dir, url } = arguments;
    let (mut archive, name) = match data {
        DataSet::DogsVsCats => (Archive::dogs_vs_cats(), "dogs-vs-cats"),
    };
    if let Some(url) = url {
        archive.url.clone_from(url);
    }
    let dir = dir.clone().unwrap_or_else(|| PathBuf::from(name));
    say_when_stopped("what is downloaded is kept; the same command goes on from there".into())?;
    let bar = bar("{msg} {bar:30} {pos}/{len}", 0);
    let fetched = fetch::fetch(&archive, &dir, Patience::default(), &mut |stage, done, all| {
        let (message, unit) = match stage {
            Stage::Download => ("downloading, MiB", MIB),
            Stage::Check => ("checking, MiB", MIB),
            Stage::Unpack => ("unpacking, files", 1),
        };
        bar.set_message(message);
        bar.set_length(all / unit);
        bar.set_position(done / unit);
    });
    bar.finish_and_clear();
    let shown = dir.display();
    match fetched? {
        Fetched::Before => say(format!("{shown}: the photos are there already")),
        Fetched::Now => {
            say(format!("wrote {shown}: the archive had the expected content (SHA-256 {})", archive.sha256))
        }
    }
    say(format!("train on them: convscope train --data {}", quoted(&shown.to_string())));
    Ok(())
}
