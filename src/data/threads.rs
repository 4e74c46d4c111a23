//! Work on all threads.

use std::thread;

use anyhow::Result;

/// `work` done for each of `0..count` on all threads, in order; the first error where there is one.
pub(crate) fn in_parallel<T: Send>(count: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let indices: Vec<usize> = (0..count).collect();
    let part = |part: &[usize]| part.iter().map(|&index| work(index)).collect::<Result<Vec<_>>>();
    thread::scope(|scope| {
        let parts = indices.chunks(count.div_ceil(threads()).max(1));
        let workers: Vec<_> = parts.map(|indices| scope.spawn(move || part(indices))).collect();
        let mut all = Vec::with_capacity(count);
        for worker in workers {
            all.extend(worker.join().expect("a worker has panicked, see its message above")?);
        }
        Ok(all)
    })
}

/// How many threads this machine runs at once, at least 1.
pub fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
