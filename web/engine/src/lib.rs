//! convscope behind JavaScript classes, for the page in `web/`.
//!
//! [`Engine`] is the device, [`ImageSet`] a set of labelled images, [`Session`] a network in training. What is more than a number or
//! an array goes to the page as JSON. Whatever may take long is `async` and lets the page draw meanwhile.

mod images;
mod network;
mod session;
mod told;

use std::fmt::Display;

use convscope::gpu::{AdapterChoice, Gpu};
use serde::Serialize;
use wasm_bindgen::prelude::*;

pub use images::{ImageSet, OwnImages};
pub use network::{describe, describe_weights, first_blocks};
pub use session::Session;
pub use told::{Explanation, Terms};

/// The device.
#[wasm_bindgen]
pub struct Engine {
    /// A page has one device, so it may stay as long as the page.
    gpu: &'static Gpu,
}

#[derive(Serialize)]
struct Adapter {
    name: String,
    /// Whether it is a program on the processor.
    software: bool,
    kernels: String,
    subgroups: bool,
}

#[wasm_bindgen]
impl Engine {
    /// Opens the browser's GPU.
    ///
    /// # Errors
    /// When there is none.
    pub async fn open() -> Result<Self, JsError> {
        console_error_panic_hook::set_once();
        let gpu = Gpu::open(&AdapterChoice::Best).await.map_err(say)?;
        Ok(Self { gpu: Box::leak(Box::new(gpu)) })
    }

    /// What it is, as JSON: `{name, software, kernels, subgroups}`.
    pub fn adapter(&self) -> String {
        let info = self.gpu.info();
        json(&Adapter {
            name: info.name.clone(),
            software: self.gpu.is_software(),
            kernels: self.gpu.kernels().to_string(),
            subgroups: self.gpu.lanes().is_some(),
        })
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("what is sent to the page has keys that are text")
}

fn say(error: impl Display) -> JsError {
    JsError::new(&error.to_string())
}
