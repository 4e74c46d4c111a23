//! Writes images as a network gets them, for `scripts/check_preparation.py` to compare with torchvision's:
//! `cargo run --release --example prepared -- SIZE RESIZE OUT IMAGE..`
//!
//! OUT gets SIZE * SIZE * 3 bytes of RGB for each image. RESIZE is 0 where the shorter side is scaled to SIZE.

use std::path::Path;

use anyhow::{Context, Result};
use convscope::data::fit::Fit;
use convscope::data::prepare;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [size, resize, out, images @ ..] = &arguments[..] else {
        anyhow::bail!("name SIZE, RESIZE, OUT and images");
    };
    let resize = resize.parse().context("RESIZE")?;
    let fit = Fit { size: size.parse().context("SIZE")?, resize: (resize > 0).then_some(resize) };
    let mut bytes = Vec::new();
    for image in images {
        let square = prepare::load(Path::new(image), fit).map_err(|reason| anyhow::anyhow!("{image} {reason}"))?;
        bytes.extend(square);
    }
    std::fs::write(out, bytes).with_context(|| out.clone())
}
