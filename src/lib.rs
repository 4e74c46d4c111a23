//! Train a convolutional network with hand-written WGSL compute kernels on any GPU, then see what each layer has learned.
//!
//! # Follow one batch
//!
//! 1. [`data`]: files become labelled squares of RGB bytes ([`data::prepare`]); threads make them into batches ahead of
//!    need ([`data::loader`]). Without files, [`data::pets`] draws cats and dogs.
//! 2. [`gpu`]: a batch is written into a [`gpu::Tensor`]; a [`gpu::Plan`] holds the kernels of a step, bound once and
//!    replayed every step.
//! 3. [`nn`]: [`nn::Model::forward`], a line a stage, then the loss, then [`nn::Model::backward`], its mirror, then the update.
//!    [`nn::Spec`] lists the layers of a network, [`nn::Network`] knows their shapes, [`ops`] binds the kernels of `shaders/`,
//!    declared with [`gpu::kernel`].
//! 4. [`train`]: the steps of an epoch; the processor waits for the device only to read loss and accuracy, about once a
//!    second.
//! 5. [`nn::checkpoint`]: the weights as PyTorch names them; [`train::run_dir`]: the folder of a run, which [`train::Run`] reads again.
//! 6. [`explain`]: what each layer makes of an image, what decides about it, and what each channel has learned.
//! 7. [`study`]: what each layer is good for, and how many blocks are enough, by cross-validation; [`stats`]: the statistics behind it.
//! 8. [`figures`]: how all that is drawn; [`report`]: the pages that tell it.
//!
//! A room knows only those before it: `gpu`, `ops`, `nn`, `data`, `stats`, `train`, `figures`, `doctor`, `explain`, `study`, `cli`, `report`,
//! `commands`. The CPU reference repeats every kernel in plain loops; the tests hold the kernels against it.
//! [`mod@bench`] times the step by itself.
//!
//! # Without the program
//!
//! [`nn`], [`ops`] and [`gpu`], the drawn images of [`data`], [`stats`] and what explains one image need no files, threads or
//! clocks and build without the feature `native`, for a browser too. Reading back is `async`; on a desktop any executor will do, here [pollster](https://docs.rs/pollster):
//!
//! ```no_run
//! use convscope::nn::checkpoint::Weights;
//! use convscope::gpu::{AdapterChoice, Gpu};
//! use convscope::nn::{Keep, Model, Optimizer, Strided};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! pollster::block_on(async {
//!     let gpu = Gpu::open(&AdapterChoice::Best).await?;
//!     let network = Strided::dogs_vs_cats(64, 2).build()?;
//!     let model = Model::new(&gpu, &network, 8, Keep::Needed)?;
//!     model.load(&gpu, &Weights::initial(&network, 0));
//!
//!     let adam = Optimizer::Adam { weight_decay: 0.0 };
//!     let step = model.training_step(&gpu, &adam);
//!     // Images are (N, H, W, 4): RGB and a zero. These are black, all of class 0.
//!     model.set_batch(&gpu, &[0.0; 8 * 64 * 64 * 4], &[0; 8]);
//!     for number in 1..=10 {
//!         model.set_step(&gpu, &adam, 1e-3, 8, 0, number);
//!         step.submit(&gpu)?;
//!     }
//!     println!("mean loss {:.3}", model.metrics(&gpu).await?.loss());
//!     Ok(())
//! })
//! # }
//! ```
#![deny(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr))]

pub mod data;
pub mod digest;
pub mod explain;
pub mod gpu;
pub mod nn;
pub mod ops;
#[doc(hidden)]
pub mod reference;
pub mod stats;

#[cfg(feature = "native")]
pub mod bench;
#[cfg(feature = "native")]
pub mod cli;
#[cfg(feature = "native")]
pub mod commands;
#[cfg(feature = "native")]
mod disk;
#[cfg(feature = "native")]
pub mod doctor;
#[cfg(feature = "native")]
mod events;
#[cfg(feature = "native")]
#[doc(hidden)]
pub mod fetch;
#[cfg(feature = "native")]
pub mod figures;
#[cfg(feature = "native")]
mod memory;
#[cfg(feature = "native")]
mod protobuf;
#[cfg(feature = "native")]
mod reading;
#[cfg(feature = "native")]
pub mod report;
#[cfg(feature = "native")]
pub mod study;
#[cfg(feature = "native")]
pub mod terminal;
#[cfg(feature = "native")]
pub mod train;
