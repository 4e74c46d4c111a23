//! What each channel has learned: which pictures it answers to, and which picture it would answer to most.
//!
//! [`survey`] runs many pictures through the network and notes for every channel of every block how often and how much it
//! fires, and where most; [`crop`] cuts out what it saw there. [`maximise`] makes the pictures that drive channels up, from
//! nothing but the network: these are pictures of what a channel adds up, not of anything that exists.

mod maximise;
mod reading;
mod survey;

pub use maximise::{Ascent, Maximised, maximise};
pub(crate) use reading::LEARNED;
pub use reading::{ChannelRow, Learned, PatchRow};
pub use survey::{BlockSurvey, ChannelSurvey, Place, Survey, crop, survey};
