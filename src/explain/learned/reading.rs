//! The tables that `learned` leaves.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::nn::Network;
use crate::reading::{amount, content, equal, json, newest, share, table, unusable, within};
use crate::train::{Origin, Run, Which};

/// Which weights the tables are about: the last file that `learned` writes.
pub(crate) const LEARNED: &str = "learned.json";
/// The table of the channels.
pub(super) const CHANNELS: &str = "channels.csv";

/// `learned.json`: what the tables are about.
#[derive(Serialize, Deserialize)]
pub(crate) struct LearnedFrom {
    /// The run's id, in runs that have one.
    run: Option<String>,
    /// File of the weights, in the run's folder.
    weights: String,
    /// Their epoch.
    epoch: usize,
    /// The folder of the images, from the root on, where these were given for a network from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

impl LearnedFrom {
    /// These weights, and the folder of the given images.
    pub(crate) fn new(Origin { run, weights, epoch }: Origin, data: Option<String>) -> Self {
        Self { run, weights, epoch, data }
    }
}

/// What activates a network's channels most.
#[derive(Clone, Debug)]
pub struct Learned {
    /// Every channel of every block.
    pub channels: Vec<ChannelRow>,
    /// The strongest patches of each.
    pub patches: Vec<PatchRow>,
    /// As `learned.json` has it.
    pub(crate) data: Option<String>,
}

/// A row of `channels.csv`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ChannelRow {
    /// The block, from 1.
    pub block: usize,
    /// The channel, from 0.
    pub channel: usize,
    /// Share of the images on which it fires.
    #[serde(alias = "share_of_pictures")]
    pub share_of_images: f64,
    /// Its mean over all places of all images.
    pub mean: f64,
}

/// A row of `patches.csv`: rows and columns are those of the image as the network sees it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PatchRow {
    /// The block, from 1.
    pub block: usize,
    /// The channel, from 0.
    pub channel: usize,
    /// 1 for the patch that activates the channel most.
    pub rank: usize,
    /// Name of the image.
    #[serde(alias = "picture")]
    pub image: String,
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// The row behind the last.
    pub bottom: usize,
    /// The column behind the last.
    pub right: usize,
}

/// Reads a table of which one column has another name in folders of older versions.
fn renamed<T: DeserializeOwned>(path: &Path, [now, once]: [&str; 2], columns: &[&str]) -> Result<Vec<T>> {
    let named = |name| table(path, &[columns, &[name]].concat());
    named(now).or_else(|error| named(once).map_err(|_| error))
}

impl Learned {
    /// Reads the tables in a folder, which are to be about this network.
    fn read(folder: &Path, network: &Network) -> Result<Self> {
        let [channels, patches] = [CHANNELS, "patches.csv"].map(|name| folder.join(name));
        let learned = Self {
            channels: renamed(&channels, ["share_of_images", "share_of_pictures"], &["block", "channel", "mean"])?,
            patches: renamed(
                &patches,
                ["image", "picture"],
                &["block", "channel", "rank", "top", "left", "bottom", "right"],
            )?,
            data: None,
        };
        learned.check_channels(network).with_context(|| unusable(&channels))?;
        learned.check_patches(network).with_context(|| unusable(&patches))?;
        Ok(learned)
    }

    /// Every channel has a row, in order.
    fn check_channels(&self, network: &Network) -> Result<()> {
        let blocks = (1..).zip(network.blocks());
        let all: Vec<(usize, usize)> =
            blocks.flat_map(|(number, block)| (0..block.output[0]).map(move |channel| (number, channel))).collect();
        equal("the number of lines below the header", self.channels.len(), all.len())?;
        for (number_of_row, (row, &(block, channel))) in self.channels.iter().zip(&all).enumerate() {
            let check = || -> Result<()> {
                equal("block", row.block, block)?;
                equal("channel", row.channel, channel)?;
                share("share_of_images", row.share_of_images)?;
                // Only where a block ends in ReLU are all values at least 0.
                if network.signed(network.blocks()[block - 1].value) {
                    ensure!(row.mean.is_finite(), "mean is {}: expected a finite number", row.mean);
                    return Ok(());
                }
                amount("mean", row.mean)
            };
            check().with_context(|| line(number_of_row))?;
        }
        Ok(())
    }

    fn check_patches(&self, network: &Network) -> Result<()> {
        let [_, height, width] = network.input();
        let blocks = network.blocks();
        let mut seen = BTreeSet::new();
        for (number, row) in self.patches.iter().enumerate() {
            let check = || -> Result<()> {
                within("block", row.block, 1..=blocks.len())?;
                within("channel", row.channel, 0..=blocks[row.block - 1].output[0] - 1)?;
                ensure!(row.rank > 0, "rank is 0: expected at least 1");
                ensure!(!row.image.is_empty(), "image is empty");
                within("bottom", row.bottom, 1..=height)?;
                within("right", row.right, 1..=width)?;
                within("top", row.top, 0..=row.bottom - 1).context("above bottom")?;
                within("left", row.left, 0..=row.right - 1).context("left of right")
            };
            check().with_context(|| line(number))?;
            let new = seen.insert((row.block, row.channel, row.rank));
            ensure!(new, "{}: rank is {}: another line has it for this block and channel", line(number), row.rank);
        }
        Ok(())
    }
}

/// A row, counted from 0, as the file has it: below a header.
fn line(row: usize) -> String {
    format!("line {}", row + 2)
}

impl Run {
    /// What activates its best network's channels most, as `learned` has found it last, if it has.
    ///
    /// # Errors
    /// When a table is broken, or about another network.
    pub fn learned(&self) -> Result<Option<Learned>> {
        // Older versions did not write down what their tables are about; the run may be one of theirs.
        let last = if self.id().is_some() { LEARNED } else { CHANNELS };
        let Some(folder) = newest(self.folder(), "learned", last) else { return Ok(None) };
        let path = folder.join(LEARNED);
        let mut data = None;
        if path.exists() {
            data = self.check_learned(json(&path)?).with_context(|| unusable(&path))?;
        }
        Ok(Some(Learned { data, ..Learned::read(&folder, self.network())? }))
    }

    fn check_learned(&self, LearnedFrom { run, weights, epoch, data }: LearnedFrom) -> Result<Option<String>> {
        let given = self.imported().is_some();
        ensure!(data.is_some() == given, "data: expected for a network that was imported, and nowhere else");
        let origin = Origin { run, weights, epoch };
        self.check_origin(&origin).context("run `convscope learned` again")?;
        let (best, Origin { weights, epoch, .. }) = (Which::Best.file(), origin);
        let own = content(&self.file(best)).ok().and_then(|bytes| self.meta(&bytes).ok());
        let same = weights == best && own.is_none_or(|own| own.epoch == epoch);
        ensure!(same, "it is about {weights} of epoch {epoch}, not about {best}; run `convscope learned` for these");
        Ok(data)
    }
}
