// What changes from one training step to the next: `ops::Step`.

struct Step {
    live: u32,
    seed: u32,
    number: u32,
    step_size: f32,
    bias_correction: f32,
}
