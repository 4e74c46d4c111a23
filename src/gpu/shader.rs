//! Shader modules without the shader compiler's loop guards: the one piece of unsafe code that the kernels have.
//!
//! naga counts the turns of every loop, so that none runs for ever. The driver can then no longer see how often a loop turns: on an
//! NVIDIA H100 that cost 3 to 7 % of a training step's speed (docs/measurements.md). All loops of `shaders/` end by themselves, which
//! `tests/bindings.rs` holds them against, so the guards are left out; bounds and divisions stay checked. The environment variable
//! `CONVSCOPE_LOOP_GUARDS=1` puts the guards back.

/// The module of a text from `shaders/`.
#[allow(unsafe_code)]
pub(super) fn module(device: &wgpu::Device, file: &'static str, text: String) -> wgpu::ShaderModule {
    let descriptor = wgpu::ShaderModuleDescriptor { label: Some(file), source: wgpu::ShaderSource::Wgsl(text.into()) };
    let mut checks = wgpu::ShaderRuntimeChecks::checked();
    checks.force_loop_bounding = std::env::var("CONVSCOPE_LOOP_GUARDS").is_ok_and(|value| value == "1");
    // SAFETY: what is left out guards against loops that do not end. Those of `shaders/` count up to a bound in steps of at least one,
    // and nothing else touches their counters.
    unsafe { device.create_shader_module_trusted(descriptor, checks) }
}
