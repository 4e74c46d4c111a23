//! The page of `learned`: what each channel of a network has learned.

use anyhow::Result;
use image::RgbImage;
use image::imageops::{self, FilterType};
use maud::{Markup, html};

use super::{EmbeddedImage, Head, document, img};
use crate::explain::learned::ChannelSurvey;
use crate::figures::words::{count, name, significant};
use crate::figures::{columns, enlarged, sheet, tap, tiles};
use crate::nn::Block;

/// Patches of a channel stand in a square of this side.
pub const SQUARE: usize = 3;
/// Channels of a block that are shown before one asks for the others.
const FIRST: usize = 32;
/// Channels up to which patches have the larger size.
const FEW: usize = 64;
/// Up to this side, images are kept to the pixel; larger ones are photos.
const SMALL: u32 = 16;

/// What each channel of a network has learned.
pub struct LearnedPage<'a> {
    /// The weights, as they are told.
    pub weights: &'a str,
    /// What a reader must know first.
    pub notes: &'a [String],
    /// Images that were looked at.
    pub images: usize,
    /// What these images are called.
    pub judges: &'a str,
    /// The filters of the first block with their limits, as [`Filters::shown`](crate::figures::Filters::shown) has them.
    pub filters: &'a [(Option<RgbImage>, f32)],
    /// The blocks, first to last.
    pub blocks: &'a [LearnedBlock],
}

/// What the channels of a block have learned.
pub struct LearnedBlock {
    /// Its geometry.
    pub geometry: Block,
    /// Channels that never fire.
    pub dead: usize,
    /// Channels that fire on less than 1 % of the images.
    pub quiet: usize,
    /// Its channels, by number.
    pub channels: Vec<LearnedChannel>,
}

/// What a channel has learned.
pub struct LearnedChannel {
    /// On how many of the images it fires.
    pub note: String,
    /// The patches that activate it most, the strongest first; none for a channel that never fires.
    pub patches: Option<RgbImage>,
    /// An image made from noise to activate it most.
    pub maximised: RgbImage,
}

impl LearnedChannel {
    /// A channel of a block of `channels` whose values see `side` pixels. `patches` are at most nine.
    pub fn new(
        survey: &ChannelSurvey,
        patches: Vec<RgbImage>,
        maximised: &RgbImage,
        side: usize,
        channels: usize,
    ) -> Self {
        let share = 100.0 * survey.share;
        let note = match survey {
            survey if survey.is_dead() => "dead".into(),
            survey if survey.is_quiet() => format!("quiet: {share:.1} %"),
            _ => format!("{share:.0} %"),
        };
        let size = Size::new(side as u32, channels);
        Self { note, patches: size.square(patches), maximised: size.alone(maximised) }
    }
}

/// How images of `side` pixels are brought to a size that can be seen and that fits.
struct Size {
    side: u32,
    /// The most that a side may have.
    most: u32,
}

impl Size {
    fn new(side: u32, channels: usize) -> Self {
        Self { side, most: if channels <= FEW { 48 } else { 32 } }
    }

    /// Patches in a square, the strongest first; the place of a missing one is hatched.
    fn square(&self, patches: Vec<RgbImage>) -> Option<RgbImage> {
        if patches.is_empty() {
            return None;
        }
        let side = self.side.min(self.most);
        let mut all: Vec<_> = patches.iter().map(|patch| Some(shrunk(patch, self.side, side))).collect();
        all.resize(SQUARE * SQUARE, None);
        Some(tiles(&all, [side; 2], SQUARE, (32 / side).max(1)))
    }

    /// An image that stands alone is twice as large.
    fn alone(&self, image: &RgbImage) -> RgbImage {
        let (side, most) = (image.width().max(image.height()), 2 * self.most);
        let image = shrunk(image, side, side.min(most));
        enlarged(&image, (64 / side).max(1))
    }
}

/// An image of a set whose largest side is brought from `from` to `to` pixels.
fn shrunk(image: &RgbImage, from: u32, to: u32) -> RgbImage {
    if from <= to {
        return image.clone();
    }
    let [width, height] = [image.width(), image.height()].map(|side| (side * to).div_ceil(from));
    imageops::resize(image, width, height, FilterType::Triangle)
}

impl LearnedPage<'_> {
    /// The page.
    ///
    /// # Errors
    /// When an image cannot be encoded.
    pub fn page(&self) -> Result<String> {
        let head = Head {
            command: "learned",
            title: html! { "What each channel has learned" },
            notes: self.notes,
            facts: vec![
                ("Weights", name(self.weights)),
                ("Looked at", html! { (count(self.images)) " " (self.judges) }),
                ("Blocks", html! { (self.blocks.len()) }),
            ],
        };
        let blocks = (1..).zip(self.blocks).map(|(number, block)| block.part(number)).collect::<Result<Vec<_>>>()?;
        let rows: Vec<String> = self.blocks.iter().map(|block| columns(block.channels.len()).to_string()).collect();
        let body = html! {
            (head.markup())
            section #filters { h2 { "Filters of block 1" } (self.filters()?) }
            section #channels {
                h2 { "Channels" }
                p {
                    "Left: the images that activate a channel most, the strongest first, each cut to exactly what its strongest value sees; "
                    "hatched where it fires on fewer than nine images. Right: activation maximisation, an image made from noise so that one value of the channel is as high as it goes. Such an "
                    "image shows what a channel adds up, not what it is for, and nothing that exists. Below: the channel, and on how many of "
                    "the " (self.judges) " it fires. Dead channels never fire, quiet ones on less than 1 %."
                }
                @for block in blocks { (block) }
            }
            p.note {
                "Beside this page: " code { "filters.png" } ", " code { "block-N-patches.png" } " and " code { "block-N-maximised.png" }
                ", the same without text, in the order of the channels, from left to right and from top to bottom, " (rows.join(", "))
                " in a row (by block); " code { "patches.csv" } " names the images that the patches come from."
            }
        };
        Ok(document("What each channel has learned", &body))
    }

    /// The sheets without text, by file name.
    pub fn sheets(&self) -> Vec<(String, RgbImage)> {
        let filters: Vec<Option<RgbImage>> = self.filters.iter().map(|(filter, _)| filter.clone()).collect();
        let mut sheets = vec![("filters.png".into(), uniform(&filters))];
        for (number, block) in (1..).zip(self.blocks) {
            let [patches, maximised]: [Vec<_>; 2] = [
                block.channels.iter().map(|channel| channel.patches.clone()).collect(),
                block.channels.iter().map(|channel| Some(channel.maximised.clone())).collect(),
            ];
            sheets.push((format!("block-{number}-patches.png"), uniform(&patches)));
            sheets.push((format!("block-{number}-maximised.png"), uniform(&maximised)));
        }
        sheets
    }

    fn filters(&self) -> Result<Markup> {
        let key = [
            ("0", [0.0, 0.0, 0.0]),
            ("+red", [1.0, 0.0, 0.0]),
            ("−red", [-1.0, 0.0, 0.0]),
            ("+green", [0.0, 1.0, 0.0]),
            ("−green", [0.0, -1.0, 0.0]),
            ("+blue", [0.0, 0.0, 1.0]),
            ("−blue", [0.0, 0.0, -1.0]),
            ("+all", [1.0, 1.0, 1.0]),
            ("−all", [-1.0, -1.0, -1.0]),
        ];
        let swatch = |weights: [f32; 3]| EmbeddedImage::map(&RgbImage::from_pixel(1, 1, tap(weights)));
        Ok(html! {
            p {
                "The red, green and blue of a square are its weights for those colours of the input: mid-grey is 0, full colour the limit, "
                "none minus the limit. Below a filter: its channel, and its limit, the largest magnitude of its weights."
            }
            p.key { @for (what, weights) in key { span { (img(&swatch(weights)?, "")) (what) } } }
            div.filters {
                @for (channel, (filter, limit)) in self.filters.iter().enumerate() {
                    figure {
                        @match filter {
                            Some(filter) => (img(&EmbeddedImage::map(filter)?, &format!("filter {channel}"))),
                            None => div.dead role="img" aria-label=(format!("filter {channel}: 0 everywhere")) {},
                        }
                        figcaption { (channel) span.limits { "±" (significant(*limit)) } }
                    }
                }
            }
        })
    }
}

impl LearnedBlock {
    fn part(&self, number: usize) -> Result<Markup> {
        let channels: Vec<(usize, &LearnedChannel)> = self.channels.iter().enumerate().collect();
        let (first, others) = channels.split_at(FIRST.min(channels.len()));
        let strip = |channels: &[(usize, &LearnedChannel)]| {
            let figures = channels.iter().map(|&(number, channel)| self.channel(number, channel));
            let figures = figures.collect::<Result<Vec<_>>>()?;
            anyhow::Ok(html! { div.channels { @for figure in figures { (figure) } } })
        };
        Ok(html! {
            article.block id=(format!("block-{number}")) {
                h3 { "Block " (number) ": " (count(self.channels.len())) " channels" }
                p.note {
                    "Each value sees " (self.geometry.receptive_field) " × " (self.geometry.receptive_field) " px; "
                    (self.dead) " dead, " (self.quiet) " quiet."
                }
                (strip(first)?)
                @if !others.is_empty() {
                    details { summary { "The other " (count(others.len())) " channels" } (strip(others)?) }
                }
            }
        })
    }

    fn channel(&self, number: usize, channel: &LearnedChannel) -> Result<Markup> {
        // Whether pixels are to be seen depends on what they were before they were enlarged.
        let small = self.geometry.receptive_field as u32 <= SMALL;
        let embed = |image: &RgbImage| if small { EmbeddedImage::map(image) } else { EmbeddedImage::photo(image) };
        Ok(html! {
            figure {
                div.pair {
                    @match &channel.patches {
                        Some(patches) => (img(&embed(patches)?, &format!("patches that activate channel {number} most"))),
                        None => div.dead role="img" aria-label=(format!("channel {number} never fires")) {},
                    }
                    (img(&embed(&channel.maximised)?, &format!("made to activate channel {number} most")))
                }
                figcaption { (number) span.limits { (channel.note) } }
            }
        })
    }
}

/// A sheet of images whose places are as large as the largest of them.
fn uniform(images: &[Option<RgbImage>]) -> RgbImage {
    let largest = |side: fn(&RgbImage) -> u32| images.iter().flatten().map(side).max().unwrap_or(1);
    sheet(images, [largest(RgbImage::width), largest(RgbImage::height)])
}
