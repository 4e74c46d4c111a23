"""Writes statistics.json, what SciPy, statsmodels, scikit-learn and NumPy make of given numbers, for tests/statistics.rs.

    pip install scipy statsmodels scikit-learn
    python tests/golden/make_statistics.py
"""

import json
from pathlib import Path

import numpy as np
import sklearn.metrics
import sklearn.calibration
from scipy import optimize, stats
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedKFold
from statsmodels.stats import contingency_tables, multitest, proportion

rng = np.random.default_rng(0)


def wilson():
    cases = [(0, 10), (10, 10), (1, 3), (87, 100), (1893, 2000), (0, 1), (24999, 50000)]
    for successes, trials in cases:
        for level in (0.9, 0.95, 0.99):
            low, high = proportion.proportion_confint(successes, trials, alpha=1 - level, method="wilson")
            yield {"successes": successes, "trials": trials, "level": level, "low": low, "high": high}


def mcnemar():
    for first, second in [(1, 7), (7, 1), (0, 5), (3, 3), (1, 1), (40, 61), (120, 119), (1, 0), (400, 310)]:
        exact = contingency_tables.mcnemar([[50, first], [second, 50]], exact=True).pvalue
        # By definition: less probable outcomes in full, equally probable ones by half.
        probabilities = stats.binom.pmf(np.arange(first + second + 1), first + second, 0.5)
        equal = np.isclose(probabilities, probabilities[first], rtol=1e-9)
        mid_p = probabilities[(probabilities < probabilities[first]) & ~equal].sum() + probabilities[equal].sum() / 2
        yield {"first": first, "second": second, "exact": exact, "mid_p": mid_p}


def multiple():
    for p_values in [[0.01, 0.04, 0.03, 0.005], [0.5], [0.02, 0.02, 0.02], [0.9, 0.001, 0.3, 0.04, 0.04, 0.011, 0.2, 1.0]]:
        adjusted = {method: multitest.multipletests(p_values, method=method)[1].tolist() for method in ("holm", "fdr_bh")}
        yield {"p_values": p_values, **adjusted}


def t_quantiles():
    for df in (1, 2, 4, 9, 19, 99, 1999):
        for probability in (0.001, 0.025, 0.4, 0.5, 0.9, 0.95, 0.975, 0.9995):
            yield {"df": df, "probability": probability, "quantile": stats.t.ppf(probability, df)}


def t_probabilities():
    for df in (1, 4, 9, 19, 1999):
        for t in (-40.0, -6.5, -1.833, -0.1, 0.0, 0.7, 2.262, 12.0):
            yield {"df": df, "t": t, "probability": stats.t.cdf(t, df)}


def paired_t():
    """The corrected test from the sizes of actual folds, the naive one from scipy.stats.ttest_1samp."""
    for folds, repeats, mean in [(5, 2, 0.3), (5, 4, -0.2), (10, 1, 1.1), (2, 5, 0.0)]:
        splits = list(RepeatedKFold(n_splits=folds, n_repeats=repeats, random_state=0).split(np.zeros(20 * folds)))
        differences = np.round(rng.normal(mean, 0.8, len(splits)), 3)
        count = len(splits)
        ratio = len(splits[0][1]) / len(splits[0][0])
        error = np.sqrt((1 / count + ratio) * differences.var(ddof=1))
        law = stats.t(df=count - 1, loc=differences.mean(), scale=error)
        margin = 1.0
        naive = stats.ttest_1samp(differences, 0.0)
        naive_interval = naive.confidence_interval(0.95)
        yield {
            "folds": folds,
            "differences": differences.tolist(),
            "margin": margin,
            "mean": differences.mean(),
            "standard_error": error,
            "upper": law.ppf(0.95),
            "low": law.ppf(0.05),
            "high": law.ppf(0.95),
            "p_two_sided": 2 * stats.t.sf(abs(differences.mean() / error), count - 1),
            "p_at_least": stats.t.cdf((differences.mean() - margin) / error, count - 1),
            "naive_p": naive.pvalue,
            "naive_low": naive_interval.low,
            "naive_high": naive_interval.high,
            "naive_p_at_least": stats.ttest_1samp(differences, margin, alternative="less").pvalue,
        }


def bootstrap():
    correct = (rng.random((2, 300)) < [[0.8], [0.86]]).astype(float)
    losses = np.round(rng.exponential(0.4, (2, 80)), 3)
    for first, second in (correct, losses):
        difference = second - first
        result = stats.bootstrap((difference,), np.mean, n_resamples=200_000, batch=10_000, method="percentile", rng=rng)
        yield {
            "first": first.tolist(),
            "second": second.tolist(),
            "mean": difference.mean(),
            "standard_error": result.standard_error,
            "low": result.confidence_interval.low,
            "high": result.confidence_interval.high,
        }


def scores():
    for classes, n in [(2, 200), (4, 60)]:
        logits = np.round(rng.normal(0, 2, (n, classes)), 3)
        labels = rng.integers(0, classes, n)
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        confidence, predicted = probabilities.max(1), probabilities.argmax(1)
        error = 0.0
        for low, high in zip(np.arange(15) / 15, np.arange(1, 16) / 15):
            inside = (confidence > low) & (confidence <= high)
            if inside.any():
                error += inside.mean() * abs((predicted == labels)[inside].mean() - confidence[inside].mean())
        yield {
            "logits": logits.ravel().tolist(),
            "labels": labels.tolist(),
            "accuracy": sklearn.metrics.accuracy_score(labels, predicted),
            "log_loss": sklearn.metrics.log_loss(labels, probabilities, labels=range(classes)),
            "calibration_error": error,
        }


def effective_rank():
    for n, p, kept in [(40, 6, 6), (12, 30, 30), (30, 8, 3)]:
        features = np.round(rng.normal(0, 1, (n, kept)) @ rng.normal(0, 1, (kept, p)) + 5, 3)
        eigenvalues = np.linalg.eigvalsh(np.cov(features, rowvar=False))
        shares = eigenvalues[eigenvalues > 1e-12] / eigenvalues[eigenvalues > 1e-12].sum()
        yield {"n": n, "features": features.ravel().tolist(), "rank": np.exp(-(shares * np.log(shares)).sum())}


def logistic():
    for n, p, classes, penalty in [(60, 6, 2, 0.01), (60, 6, 2, 1.0), (25, 40, 2, 0.003), (45, 5, 3, 0.02), (20, 30, 3, 0.1)]:
        labels = np.arange(n) % classes
        features = np.round(rng.normal(0, 1, (n, p)) + 0.7 * rng.normal(0, 1, (classes, p))[labels], 2)
        solver = LogisticRegression(C=1 / (n * penalty), solver="newton-cholesky", tol=1e-12, max_iter=1000)
        fit = solver.fit(features, labels)
        yield {
            "features": features.ravel().tolist(),
            "labels": labels.tolist(),
            "classes": classes,
            "lambda": penalty,
            "weights": fit.coef_.ravel().tolist(),
            "intercepts": fit.intercept_.tolist(),
            "log_loss": sklearn.metrics.log_loss(labels, fit.predict_proba(features)),
        }


def paired_difference():
    """The ends of Tango's interval, from his score statistic with the likelihood maximised by search."""

    def statistic(first, second, n, difference):
        def minus_log_likelihood(share):
            cells = [(first, share + difference), (second, share), (n - first - second, 1 - 2 * share - difference)]
            return -sum(count * np.log(max(probability, 1e-300)) for count, probability in cells if count > 0)

        bounds = (max(0.0, -difference), (1 - difference) / 2)
        share = optimize.minimize_scalar(minus_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-13}).x
        return (first - second - n * difference) / np.sqrt(n * (2 * share + difference * (1 - difference)))

    for first, second, n in [(20, 5, 100), (5, 20, 100), (3, 3, 50), (0, 7, 300), (9, 2, 1000), (130, 90, 2000), (12.4, 3.7, 500)]:
        for level in (0.9, 0.95):
            z = stats.norm.ppf(0.5 + level / 2)
            middle = (first - second) / n
            low = optimize.brentq(lambda d: statistic(first, second, n, d) - z, -0.9, middle - 1e-9, xtol=1e-14)
            high = optimize.brentq(lambda d: statistic(first, second, n, d) + z, middle + 1e-9, 0.9, xtol=1e-14)
            yield {"first": first, "second": second, "images": n, "level": level, "low": low, "high": high}


def calibration():
    """The points of scikit-learn's reliability curve, and the expected calibration error that follows from them."""
    for classes, n, scale in [(2, 300, 3.0), (5, 120, 1.5), (3, 40, 0.5)]:
        logits = np.round(rng.normal(0, scale, (n, classes)), 3)
        labels = rng.integers(0, classes, n)
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        confidence, hit = probabilities.max(1), probabilities.argmax(1) == labels
        right, mean = sklearn.calibration.calibration_curve(hit, confidence, n_bins=15, strategy="uniform")
        images = np.histogram(confidence, bins=15, range=(0, 1))[0]
        images = images[images > 0]
        shares = [(labels == label).mean() for label in range(classes)]
        yield {
            "logits": logits.ravel().tolist(),
            "labels": labels.tolist(),
            "images": images.tolist(),
            "right": right.tolist(),
            "confidence": mean.tolist(),
            "error": (images / n * abs(right - mean)).sum(),
            "log_loss_of_shares": sklearn.metrics.log_loss(labels, np.tile(shares, (n, 1)), labels=range(classes)),
        }


def confusion():
    """Of the last case one class is never predicted, and another has no images."""
    for classes, n, absent in [(2, 50, []), (4, 200, []), (7, 90, []), (5, 60, [1, 3])]:
        labels, predicted = rng.integers(0, classes, (2, n))
        labels, predicted = np.where(rng.random(n) < 0.5, predicted, labels), predicted
        if absent:
            predicted[predicted == absent[0]] = 0
            labels[labels == absent[1]] = 0
        named = {"labels": range(classes), "zero_division": 0}
        precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(labels, predicted, **named)
        means = sklearn.metrics.precision_recall_fscore_support(labels, predicted, average="macro", **named)
        yield {
            "confusion": sklearn.metrics.confusion_matrix(labels, predicted, labels=range(classes)).tolist(),
            "precision": precision.tolist(),
            "recall": recall.tolist(),
            "f1": f1.tolist(),
            "macro": list(means[:3]),
        }


groups = [wilson, mcnemar, multiple, t_quantiles, t_probabilities, paired_t, bootstrap, scores, effective_rank, logistic]
groups += [paired_difference, calibration, confusion]
golden = {group.__name__: list(group()) for group in groups}
path = Path(__file__).with_name("statistics.json")
lines = (f'"{name}": [\n' + ",\n".join(json.dumps(case) for case in cases) + "\n]" for name, cases in golden.items())
path.write_text("{" + ",\n".join(lines) + "}\n")
