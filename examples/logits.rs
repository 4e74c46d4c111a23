//! Writes logits.safetensors into a folder: images as a network gets them, and its logits, for scripts in `tests/golden/` to compare
//! with PyTorch's.
//!
//! The network of a run, for `check_weights.py`:
//! `cargo run --release --example logits -- runs/001`
//!
//! A network with a name, for `check_architectures.py`, as JSON, with the weights of a file that PyTorch wrote, or else with those
//! that it starts from, which are written beside the logits as best.safetensors:
//! `cargo run --release --example logits -- FOLDER '{"name":"resnet18","input":[3,64,64],"width":1,"classes":2}' [FILE]`

use std::path::Path;

use anyhow::{Context, Result};
use convscope::data::{
    Images,
    drawn::{Drawn, Subject},
    pixels,
};
use convscope::gpu::{AdapterChoice, Gpu, GpuError};
use convscope::nn::checkpoint::{Checkpoint, Meta, Weights};
use convscope::nn::layout::unpack_images;
use convscope::nn::{Architecture, Keep, Mode, Model, Network};
use convscope::train::Run;
use convscope::train::Which;
use pollster::block_on;
use safetensors::tensor::{Dtype, TensorView};

/// Images of a run's network. Those with a name are larger.
const OF_A_RUN: usize = 64;
const OF_A_NAME: usize = 4;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = Path::new(arguments.first().context("name the folder of a run")?);
    match arguments.get(1) {
        None => {
            let Checkpoint { network, weights, .. } = Run::open(folder)?.checkpoint(Which::Best)?;
            write_logits(folder, &network, &weights, OF_A_RUN)
        }
        Some(text) => {
            let architecture: Architecture = serde_json::from_str(text)?;
            let network = architecture.build()?;
            let weights = match arguments.get(2) {
                Some(file) => {
                    let bytes = std::fs::read(file).with_context(|| file.clone())?;
                    Weights::from_state_dict(&bytes, &network).with_context(|| file.clone())?
                }
                None => write_start(folder, architecture, &network)?,
            };
            write_logits(folder, &network, &weights, OF_A_NAME)
        }
    }
}

/// Writes the weights that a network starts from.
fn write_start(folder: &Path, architecture: Architecture, network: &Network) -> Result<Weights> {
    let weights = Weights::initial(network, 0);
    let classes = (0..network.classes()).map(|number| number.to_string()).collect();
    let meta = Meta {
        architecture,
        classes,
        preparation: Default::default(),
        epoch: 0,
        drawn: true,
        made_by: None,
        val_loss: None,
    };
    let checkpoint = Checkpoint { meta, network: network.clone(), weights };
    std::fs::write(folder.join("best.safetensors"), checkpoint.to_bytes())?;
    Ok(checkpoint.weights)
}

fn write_logits(folder: &Path, network: &Network, weights: &Weights, count: usize) -> Result<()> {
    let [channels, height, width] = network.input();
    let pixels = height * width;
    let pets = Drawn::new(Subject::Pets, 1, 0, count, width as u32, 0);
    let mut images = vec![0.0; count * pixels * pixels::CHANNELS];
    for (index, image) in images.chunks_mut(pixels * pixels::CHANNELS).enumerate() {
        pixels::to_tensor(&pets.pixels(index).map_err(anyhow::Error::msg)?, false, image);
    }

    let gpu = block_on(Gpu::open(&AdapterChoice::Best))?;
    let model = match Model::new(&gpu, network, count, Keep::Needed) {
        Err(error @ GpuError::TooLarge { .. }) => {
            println!("no logits: {error}");
            return Ok(());
        }
        model => model?,
    };
    model.load(&gpu, weights);
    model.set_batch(&gpu, &images, &vec![0; count]);
    model.set_live(&gpu, count);
    model.forward(&gpu, Mode::Eval).submit(&gpu)?;
    let logits: Vec<f32> = block_on(model.logits().read(&gpu))?;

    let input = unpack_images(&images, count, channels, pixels);
    let logits = unpack_images(&logits, count, network.classes(), 1);
    let input = TensorView::new(Dtype::F32, vec![count, channels, height, width], bytemuck::cast_slice(&input))?;
    let logits = TensorView::new(Dtype::F32, vec![count, network.classes()], bytemuck::cast_slice(&logits))?;
    let path = folder.join("logits.safetensors");
    std::fs::write(&path, safetensors::serialize([("input", input), ("logits", logits)], None)?)?;
    println!("wrote {}", path.display());
    Ok(())
}
