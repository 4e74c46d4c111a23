//! Processes that train one network together, each on its part of every batch.
//!
//! Every process has the whole network and moves its own weights, always by the same gradient: the sum of all parts, whose summands are
//! added in the order of the processes. So equal devices keep equal weights, bit for bit, whatever the network between them does.

use std::ops::Range;

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};

use crate::nn::Metrics;

/// What joins the processes. Each of its calls is made by all of them, in the same order.
pub trait Exchange {
    /// Which of the processes this is, from 0. The first one writes the files and speaks.
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn size(&self) -> usize;

    /// Goes on when all processes have come here.
    fn wait_for_all(&self);

    /// Sends the parts of `parts`, of equal length and one a process, each to its own, and gets as many numbers from each.
    fn scatter(&self, parts: &[f32]) -> Vec<f32>;

    /// The numbers of all processes, as many of each, in their order.
    fn gather(&self, own: &[f32]) -> Vec<f32>;

    /// The bytes of all processes, as many of each, in their order.
    fn gather_bytes(&self, own: &[u8]) -> Vec<u8>;
}

/// Adds up the numbers of all processes, each times the process's `share`, and divides the sums by `by`. All get the same, bit for bit.
pub(super) fn add_up(exchange: &dyn Exchange, numbers: &mut Vec<f32>, share: f64, by: f64) {
    let (len, size) = (numbers.len(), exchange.size());
    // Each process adds up one part of the numbers, and then all have all parts.
    let part = len.div_ceil(size);
    numbers.iter_mut().for_each(|number| *number = (f64::from(*number) * share) as f32);
    numbers.resize(part * size, 0.0);
    let of_all = exchange.scatter(numbers);
    let sum = |index: usize| {
        let summands = of_all[index..].iter().step_by(part).map(|&number| f64::from(number));
        (summands.sum::<f64>() / by) as f32
    };
    let sums: Vec<f32> = (0..part).map(sum).collect();
    *numbers = exchange.gather(&sums);
    numbers.truncate(len);
}

/// The metrics of all processes together.
pub(super) fn joined(exchange: &dyn Exchange, own: &Metrics) -> Metrics {
    let Metrics { loss_sum, correct, seen, broken } = *own;
    let counts = [correct, seen, broken].map(u32::to_le_bytes).concat();
    let all = exchange.gather_bytes(&[&loss_sum.to_le_bytes()[..], &counts].concat());
    let mut sum = Metrics::default();
    for of_one in all.chunks_exact(20) {
        let (loss, counts) = of_one.split_at(8);
        sum.loss_sum += f64::from_le_bytes(loss.try_into().expect("eight bytes"));
        let count = |at: usize| u32::from_le_bytes(counts[4 * at..4 * at + 4].try_into().expect("four bytes"));
        sum.correct += count(0);
        sum.seen += count(1);
        sum.broken += count(2);
    }
    sum
}

/// What the first process says; the others say it too, or nothing of weight.
pub(super) fn of_the_first(exchange: &dyn Exchange, own: bool) -> bool {
    exchange.gather_bytes(&[own.into()])[0] != 0
}

/// The part of a process in a batch or a set of `len` images: of all processes in order, each as large as any other or one larger.
pub(super) fn part(len: usize, rank: usize, size: usize) -> Range<usize> {
    len * rank / size..len * (rank + 1) / size
}

/// Checks that all processes have the same of each of these, which are named: they can train one network together only then.
///
/// # Errors
/// Names the first that differs, and the first process that has it otherwise.
pub fn check_same(exchange: &dyn Exchange, own: &[(&str, Vec<u8>)]) -> Result<()> {
    let digests: Vec<u8> = own.iter().flat_map(|(_, content)| Sha256::digest(content)).collect();
    let all = exchange.gather_bytes(&digests);
    let of = |rank: usize, number: usize| &all[rank * digests.len() + 32 * number..][..32];
    for (number, (what, _)) in own.iter().enumerate() {
        if let Some(rank) = (1..exchange.size()).find(|&rank| of(rank, number) != of(0, number)) {
            anyhow::bail!(
                "{what}: process {rank} has another than process 0; all processes need the same program, options, images and kind of \
                 device"
            );
        }
    }
    Ok(())
}

/// Checks that a batch can be divided among so many processes. `least` images are the fewest that a process can learn from.
///
/// # Errors
/// Names the option and what would be right.
pub fn check_batch(batch: usize, least: usize, processes: usize) -> Result<()> {
    ensure!(
        batch.is_multiple_of(processes) && batch / processes >= least,
        "--batch {batch}: each of {processes} processes takes an equal part of it, of at least {least}; take a multiple of {processes}, such as {}",
        processes * batch.div_ceil(processes).max(least)
    );
    Ok(())
}

/// Checks that there are enough images for so many processes, to learn from and to judge by.
///
/// # Errors
/// Says what is missing.
pub fn check_images([learn, judge]: [usize; 2], least: usize, processes: usize) -> Result<()> {
    ensure!(
        learn >= least * processes && judge >= processes,
        "{learn} training and {judge} validation images are too few for {processes} processes, which each take a part of them; start fewer"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_side_by_side_and_are_of_equal_size_or_one_more() {
        for len in [0, 1, 2, 7, 32, 33] {
            for size in 1..6 {
                let parts: Vec<_> = (0..size).map(|rank| part(len, rank, size)).collect();
                assert_eq!((parts[0].start, parts[size - 1].end), (0, len));
                assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
                assert!(parts.iter().all(|part| [len / size, len.div_ceil(size)].contains(&part.len())), "{parts:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_divided_is_refused_with_what_can() {
        check_batch(32, 2, 2).unwrap();
        check_batch(3, 1, 3).unwrap();
        for (batch, least, processes, right) in
            [(32, 1, 3, "such as 33"), (4, 2, 4, "such as 8"), (2, 1, 4, "such as 4")]
        {
            let error = check_batch(batch, least, processes).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--batch {batch}: ")) && error.ends_with(right), "{error}");
        }
        check_images([4, 2], 2, 2).unwrap();
        for images in [[3, 2], [4, 1]] {
            let error = check_images(images, 2, 2).unwrap_err().to_string();
            assert!(error.contains("too few for 2 processes"), "{error}");
        }
    }
}
