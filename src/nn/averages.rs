//! Exponential moving averages of a model's weights.

use super::model::Model;
use crate::gpu::{Gpu, GpuError, Plan, Tensor};
use crate::ops::average;

/// Averages of all weights, and of batch norm's running statistics, over the steps of training, as timm's `ModelEmaV3` makes them.
/// The first is what the model holds before its first epoch. Between epochs they stand in the model, in the place of its own numbers.
pub struct Averages {
    parts: Vec<Part>,
    /// Whether there are any yet: not before the first epoch.
    begun: bool,
    /// Whether they stand in the model, whose own numbers are kept aside.
    stand: bool,
}

/// The weights, or the statistics.
struct Part {
    /// Where the model has them.
    own: Tensor,
    average: Tensor,
    /// The model's own numbers while the averages stand in their place.
    kept: Tensor,
}

impl Averages {
    /// Allocates them.
    ///
    /// # Errors
    /// When a tensor exceeds what the device can bind.
    pub fn new(gpu: &Gpu, model: &Model) -> Result<Self, GpuError> {
        let part = |own: Tensor| -> Result<Part, GpuError> {
            let new = |name| Tensor::new(gpu, name, own.len());
            Ok(Part { average: new("averages")?, kept: new("kept beside the averages")?, own })
        };
        // A network without batch norm has no statistics.
        let parts = model.numbers().into_iter().filter(|own| !own.is_empty()).cloned().map(part);
        Ok(Self { parts: parts.collect::<Result<_, _>>()?, begun: false, stand: false })
    }

    /// What follows each step.
    pub fn update(&self, gpu: &Gpu, decay: f64) -> Plan {
        let mut plan = Plan::new();
        for Part { own, average, .. } in &self.parts {
            let shape = average::Shape { len: (own.len() / 4) as u32, rest: (1.0 - decay) as f32 };
            plan.add(gpu, "average", &average::Update { shape, value: own, average });
        }
        plan
    }

    /// To be called when the model has got other weights, which the averages will then begin with.
    pub fn reset(&mut self) {
        self.begun = false;
        self.stand = false;
    }

    /// Whether there are any yet.
    pub fn begun(&self) -> bool {
        self.begun
    }

    /// Whether they stand in the model.
    pub fn stand(&self) -> bool {
        self.stand
    }

    /// To be called when the model has got the averages of a training that is to go on, and next gets that training's own numbers.
    ///
    /// # Errors
    /// When the device failed.
    pub fn take_over(&mut self, gpu: &Gpu) -> Result<(), GpuError> {
        for Part { own, average, .. } in &self.parts {
            average.copy_from(gpu, own)?;
        }
        self.begun = true;
        self.stand = false;
        Ok(())
    }

    /// To be called before an epoch: the model goes on from its own numbers.
    ///
    /// # Errors
    /// When the device failed.
    pub fn before_epoch(&mut self, gpu: &Gpu) -> Result<(), GpuError> {
        for Part { own, average, kept } in &self.parts {
            if !self.begun {
                average.copy_from(gpu, own)?;
            } else if self.stand {
                own.copy_from(gpu, kept)?;
            }
        }
        self.begun = true;
        self.stand = false;
        Ok(())
    }

    /// To be called after an epoch: the model gets the averages.
    ///
    /// # Errors
    /// When the device failed.
    pub fn after_epoch(&mut self, gpu: &Gpu) -> Result<(), GpuError> {
        for Part { own, average, kept } in &self.parts {
            kept.copy_from(gpu, own)?;
            own.copy_from(gpu, average)?;
        }
        self.stand = true;
        Ok(())
    }
}
