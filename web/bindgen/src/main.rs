//! `convscope-bindgen ENGINE.wasm FOLDER`: writes the JavaScript and TypeScript that load the engine.

use anyhow::{Result, bail};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [engine, folder] = &arguments[..] else { bail!("usage: convscope-bindgen ENGINE.wasm FOLDER") };
    Bindgen::new().input_path(engine).web(true)?.typescript(true).generate(folder)
}
