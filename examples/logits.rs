//! Writes RUN/logits.safetensors: pictures as the network of a run gets them, and its logits, for
//! `tests/golden/check_weights.py` to compare with PyTorch's.
//!
//! `cargo run --release --example logits -- runs/001`

use std::path::Path;

use anyhow::{Context, Result};
use convscope::cli::Which;
use convscope::data::{Pictures, drawn::DrawnPets, prepare};
use convscope::gpu::{AdapterChoice, Gpu};
use convscope::layout::unpack_images;
use convscope::nn::{Keep, Mode, Model};
use convscope::reading::Run;
use pollster::block_on;
use safetensors::tensor::{Dtype, TensorView};

const PICTURES: usize = 64;

fn main() -> Result<()> {
    let run = std::env::args().nth(1).context("name the folder of a run")?;
    let run = Path::new(&run);
    let checkpoint = Run::open(run)?.checkpoint(Which::Best)?;
    let network = &checkpoint.network;
    let [channels, height, width] = network.input();
    let pixels = height * width;

    let pets = DrawnPets::new(1, 0, PICTURES, width as u32, 0);
    let mut pictures = vec![0.0; PICTURES * pixels * prepare::CHANNELS];
    for (index, picture) in pictures.chunks_mut(pixels * prepare::CHANNELS).enumerate() {
        prepare::to_tensor(&pets.pixels(index).map_err(anyhow::Error::msg)?, false, picture);
    }

    let gpu = block_on(Gpu::open(&AdapterChoice::Best))?;
    let model = Model::new(&gpu, network, PICTURES, Keep::Needed)?;
    model.load(&gpu, &checkpoint.weights);
    model.set_batch(&gpu, &pictures, &[0; PICTURES]);
    model.set_live(&gpu, PICTURES);
    model.forward(&gpu, Mode::Eval).submit(&gpu)?;
    let logits: Vec<f32> = block_on(model.logits().read(&gpu))?;

    let input = unpack_images(&pictures, PICTURES, channels, pixels);
    let logits = unpack_images(&logits, PICTURES, network.classes(), 1);
    let input = TensorView::new(Dtype::F32, vec![PICTURES, channels, height, width], bytemuck::cast_slice(&input))?;
    let logits = TensorView::new(Dtype::F32, vec![PICTURES, network.classes()], bytemuck::cast_slice(&logits))?;
    let path = run.join("logits.safetensors");
    std::fs::write(&path, safetensors::serialize([("input", input), ("logits", logits)], None)?)?;
    println!("wrote {}", path.display());
    Ok(())
}
