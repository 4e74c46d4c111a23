//! p-values adjusted for the number of questions asked.

/// Holm's adjusted p-values, in the order given: reject where one is at most the level, and the chance of even one false
/// rejection stays below it.
///
/// With the p-values in ascending order, `adjusted[i] = max over j <= i of (m - j) p[j]`, j from 0, at most 1.
/// Formula: S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
///
/// # Panics
/// When a value is not between 0 and 1.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let order = ascending(p_values);
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (rank, &index) in order.iter().enumerate() {
        let remaining = (p_values.len() - rank) as f64;
        largest = largest.max(remaining * p_values[index]).min(1.0);
        adjusted[index] = largest;
    }
    adjusted
}

/// Benjamini and Hochberg's q-values, in the order given: of the rejections where one is at most the level, the expected
/// share that is false stays below it.
///
/// With the p-values in ascending order, `q[i] = min over j >= i of p[j] m / (j + 1)`, j from 0, at most 1.
/// Formula: Y. Benjamini and Y. Hochberg, JRSS B 57 (1995) 289-300.
///
/// # Panics
/// When a value is not between 0 and 1.
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let order = ascending(p_values);
    let mut adjusted = vec![0.0; p_values.len()];
    let mut smallest: f64 = 1.0;
    for (rank, &index) in order.iter().enumerate().rev() {
        smallest = smallest.min(p_values[index] * p_values.len() as f64 / (rank + 1) as f64);
        adjusted[index] = smallest;
    }
    adjusted
}

/// Indices of the p-values from the smallest up.
fn ascending(p_values: &[f64]) -> Vec<usize> {
    for p in p_values {
        assert!((0.0..=1.0).contains(p), "{p} is not a p-value");
    }
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    order
}
