//! What each channel has learned: which images it answers to, and which image it would answer to most.
//!
//! [`survey`] runs many images through the network and notes for every channel of every block how often and how much it
//! fires, and where most; [`crop`] cuts out what it saw there. [`maximise`] makes the images that activate channels most, from
//! nothing but the network: these are images of what a channel adds up, not of anything that exists.

mod maximise;
mod reading;
mod survey;

pub use maximise::{Ascent, Maximised, maximise};
pub use reading::{ChannelRow, Learned, PatchRow};
pub(crate) use reading::{LEARNED, LearnedFrom};
pub use survey::{BlockSurvey, ChannelSurvey, Place, Survey, crop, survey};
