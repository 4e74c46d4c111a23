//! The processes that `mpirun` has started.

use anyhow::{Context, Result};
use mpi::environment::{Threading, Universe};
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;

use super::exchange::Exchange;

/// All processes of this program's start. What it was given up for ends them all.
pub struct World {
    world: SimpleCommunicator,
    /// Which of the processes of this machine this one is, from 0.
    local: usize,
    // MPI ends with it.
    _universe: Universe,
}

impl World {
    /// Joins the others.
    ///
    /// # Errors
    /// When MPI cannot be used by a program with threads.
    pub fn join() -> Result<Self> {
        // Only the thread that trains speaks to the others.
        let (universe, _) = mpi::initialize_with_threading(Threading::Funneled).context("MPI was started already")?;
        let world = universe.world();
        let local = world.split_shared(world.rank()).rank() as usize;
        Ok(Self { world, local, _universe: universe })
    }

    /// Which of the processes of this machine this one is, from 0.
    pub fn local_rank(&self) -> usize {
        self.local
    }

    /// Ends all processes.
    pub fn end_all(&self) -> ! {
        self.world.abort(1)
    }
}

impl Exchange for World {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn wait_for_all(&self) {
        self.world.barrier();
    }

    fn scatter(&self, parts: &[f32]) -> Vec<f32> {
        let mut got = vec![0.0; parts.len()];
        self.world.all_to_all_into(parts, &mut got[..]);
        got
    }

    fn gather(&self, own: &[f32]) -> Vec<f32> {
        let mut all = vec![0.0; own.len() * self.size()];
        self.world.all_gather_into(own, &mut all[..]);
        all
    }

    fn gather_bytes(&self, own: &[u8]) -> Vec<u8> {
        let mut all = vec![0; own.len() * self.size()];
        self.world.all_gather_into(own, &mut all[..]);
        all
    }
}
