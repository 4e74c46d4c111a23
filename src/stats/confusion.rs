//! What a confusion matrix says of each class.

/// Counts of one class, from which its precision, recall and F1 follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Images of the class that are recognised.
    pub right: usize,
    /// Images of the class.
    pub actual: usize,
    /// Images that are taken for it.
    pub predicted: usize,
}

impl ClassCounts {
    /// Of each class of a square matrix whose entry `[truth][predicted]` counts images.
    pub fn of(confusion: &[Vec<usize>]) -> Vec<Self> {
        let counts = |class: usize| Self {
            right: confusion[class][class],
            actual: confusion[class].iter().sum(),
            predicted: confusion.iter().map(|row| row[class]).sum(),
        };
        (0..confusion.len()).map(counts).collect()
    }

    /// The share of the class's images that are recognised; none where it has no image.
    pub fn recall(&self) -> Option<f64> {
        share(self.right, self.actual)
    }

    /// The share of the images taken for the class that belong to it; none where none is.
    pub fn precision(&self) -> Option<f64> {
        share(self.right, self.predicted)
    }

    /// The harmonic mean of precision and recall; none where the class neither has images nor is predicted.
    pub fn f1(&self) -> Option<f64> {
        share(2 * self.right, self.actual + self.predicted)
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The mean over classes, in which every class counts the same; one that has no value counts as 0, as in scikit-learn.
pub fn macro_mean(classes: &[ClassCounts], score: fn(&ClassCounts) -> Option<f64>) -> f64 {
    classes.iter().map(|class| score(class).unwrap_or(0.0)).sum::<f64>() / classes.len() as f64
}

/// The log-loss of a guess that gives each class the share that it has among the images, so many of each class: the entropy of
/// the shares, in nats. A network that has learned something comes out below it.
pub fn log_loss_of_shares(of_class: &[usize]) -> f64 {
    let images: usize = of_class.iter().sum();
    let shares = of_class.iter().filter(|&&count| count > 0).map(|&count| count as f64 / images as f64);
    -shares.map(|share| share * share.ln()).sum::<f64>()
}
