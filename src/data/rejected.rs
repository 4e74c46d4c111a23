//! The table of files that are not used.

use std::path::Path;

use anyhow::Result;

use super::{Rejected, names};
use crate::disk;

/// Writes the rejected files as a CSV table with the columns `file` and `reason`.
///
/// # Errors
/// If the table cannot be written.
pub fn write_rejected(path: &Path, rejected: &[Rejected]) -> Result<()> {
    let legible =
        |Rejected { file, reason }: &Rejected| Rejected { file: file.clone(), reason: names::legible(reason) };
    disk::write(path, &disk::rows(&rejected.iter().map(legible).collect::<Vec<_>>())?)
}
