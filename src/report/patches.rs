//! The parts of images that excite each channel most.

use image::RgbImage;
use image::imageops::{self, FilterType};

use super::PictureError;
use super::canvas::{INK, MUTED};
use super::page::{CONTENT, Page, WIDEST, even, fitting};
use super::text::{Font, shorten};

/// Patches are enlarged as long as they stay within this many pixels, and shrunk where they exceed the larger limit. Where each
/// stands alone, both are twice as large.
const ENLARGED: u32 = 32;
const SHRUNK: u32 = 48;
/// Distance between patches, and between blocks.
const GAP: usize = 3;
const BLOCK_GAP: usize = 20;
/// Narrowest block, so that its name and note fit.
const BLOCK: usize = 84;
/// A page of more channels than this is wider, and its patches are shrunk to the smaller limit.
const MANY: usize = 64;
/// Width between the margins of such a page.
const WIDE: usize = 2400;

/// One channel and the patches that excite it most.
#[derive(Debug, Clone)]
pub struct PatchRow {
    /// Stands above the patches: "channel 17".
    pub name: String,
    /// Stands below them: "dead"; may be empty.
    pub note: String,
    /// Up to nine patches, the most exciting first. Those at an image's edge may be smaller.
    pub patches: Vec<RgbImage>,
}

/// Draws a block of `side` x `side` patches for each channel, from left to right and from top to bottom;
/// the place of a missing patch is hatched.
///
/// Small patches are enlarged by a whole number, large ones are shrunk, all alike.
///
/// # Errors
/// If there is no row, or if a row has more patches than its block or an empty one.
pub fn patches(title: &str, facts: &[String], rows: &[PatchRow], side: usize) -> Result<RgbImage, PictureError> {
    check(title, rows, side)?;
    let many = rows.len() > MANY;
    let sides = rows.iter().flat_map(|row| &row.patches).map(|patch| patch.width().max(patch.height()));
    let size = Size::new(sides.max().unwrap_or(ENLARGED), side, many);
    let block = size.block().max(BLOCK);
    let most = fitting(if many { WIDE } else { WIDEST }, block, BLOCK_GAP);
    let columns = even(rows.len(), most);
    let mut page = Page::new(title, CONTENT.max(columns * (block + BLOCK_GAP) - BLOCK_GAP));
    for fact in facts {
        page.paragraph(fact);
    }
    page.space();
    page.paragraph(&size.legend());
    if rows.iter().any(|row| row.patches.len() < side * side) {
        page.hatching("no patch");
    }
    for line in rows.chunks(columns) {
        page.band(BLOCK_GAP);
        for (i, row) in line.iter().enumerate() {
            page.column(i * (block + BLOCK_GAP), block);
            draw(&mut page, row, &size, block / Font::Label.width());
        }
    }
    Ok(page.finish())
}

fn check(title: &str, rows: &[PatchRow], side: usize) -> Result<(), PictureError> {
    if rows.is_empty() {
        return Err(PictureError(format!("{title}: there is no channel to draw; give at least one")));
    }
    for PatchRow { name, patches, .. } in rows {
        let (count, most) = (patches.len(), side * side);
        if count > most {
            return Err(PictureError(format!("{title}, {name}: {count} patches; give at most {most}")));
        }
        if patches.iter().any(|patch| patch.width() == 0 || patch.height() == 0) {
            return Err(PictureError(format!("{title}, {name}: a patch has no pixels; leave it out")));
        }
    }
    Ok(())
}

/// Draws the block of one channel, with texts of at most the given number of characters.
fn draw(page: &mut Page, row: &PatchRow, size: &Size, characters: usize) {
    page.put(0, &shorten(&row.name, characters), Font::Strong, INK);
    page.down(Font::Label.line());
    if row.patches.is_empty() {
        page.hatch_at(0, (size.block(), size.block()));
        page.down(size.block() + GAP);
    } else {
        for line in 0..size.patches {
            for column in 0..size.patches {
                let left = column * (size.cell + GAP);
                match row.patches.get(line * size.patches + column) {
                    Some(patch) => page.photo_at(left, &size.apply(patch), size.factor),
                    None => page.hatch_at(left, (size.cell, size.cell)),
                }
            }
            page.down(size.cell + GAP);
        }
    }
    page.put(0, &shorten(&row.note, characters), Font::Label, MUTED);
    page.down(Font::Label.line());
}

/// How patches are brought to a size that can be seen and that fits.
struct Size {
    /// Patches in a row and in a column of a block.
    patches: usize,
    /// The side of the largest patch, in pixels of its image and on the page.
    side: u32,
    cell: usize,
    /// Pixels of the page for one pixel of a patch that is not shrunk.
    factor: usize,
}

impl Size {
    fn new(side: u32, patches: usize, many: bool) -> Self {
        let times = if patches == 1 { 2 } else { 1 };
        let most = times * if many { ENLARGED } else { SHRUNK };
        let factor = (times * ENLARGED / side).max(1);
        Size { patches, side, cell: (side * factor).min(most) as usize, factor: factor as usize }
    }

    /// The side of a block on the page.
    fn block(&self) -> usize {
        self.patches * (self.cell + GAP) - GAP
    }

    fn shrinks(&self) -> bool {
        self.cell < self.side as usize
    }

    fn apply(&self, patch: &RgbImage) -> RgbImage {
        if !self.shrinks() {
            return patch.clone();
        }
        let shrink = |length: u32| (length * self.cell as u32).div_ceil(self.side);
        imageops::resize(patch, shrink(patch.width()), shrink(patch.height()), FilterType::Triangle)
    }

    fn legend(&self) -> String {
        let Size { side, cell, factor, .. } = self;
        let shown = match factor {
            _ if self.shrinks() => format!("shrunk to {cell} px"),
            1 => "as they are".to_string(),
            _ => format!("enlarged {factor} times"),
        };
        let what =
            if self.patches == 1 { "" } else { "each block: what excites a channel most, the strongest first; " };
        format!("{what}patches of {side} px, {shown}")
    }
}
