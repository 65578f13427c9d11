"""What scikit-learn's own search classes are made of and does not export: the one place to look at when a new version of it comes.

Splitting, scoring, errors and the layout of ``cv_results_`` are scikit-learn's own code, so that they are the same to the last detail.
"""

from __future__ import annotations

from typing import Any

from tunesmith.errors import SpecError

try:
    from sklearn.base import _fit_context as fit_context
    from sklearn.metrics._scorer import _MultimetricScorer as MultimetricScorer
    from sklearn.model_selection._search import BaseSearchCV
    from sklearn.model_selection._validation import _fit_and_score as fit_and_score
    from sklearn.model_selection._validation import _insert_error_scores as insert_error_scores
    from sklearn.model_selection._validation import _score as score
    from sklearn.model_selection._validation import _warn_or_raise_about_fit_failures as warn_or_raise_about_fit_failures
    from sklearn.utils._param_validation import Interval, StrOptions
    from sklearn.utils.metaestimators import _safe_split as safe_split
    from sklearn.utils.validation import _check_method_params as check_method_params
    from sklearn.utils.validation import indexable
except ImportError as error:
    import sklearn

    raise SpecError(
        f"tunesmith.sklearn does not know scikit-learn {sklearn.__version__} ({error}). Install a version that it knows: "
        'pip install "tunesmith[sklearn]"'
    ) from error

__all__ = [
    "BaseSearchCV", "Interval", "MultimetricScorer", "StrOptions", "check_method_params", "fit_and_score", "fit_context", "indexable",
    "insert_error_scores", "safe_split", "score", "score_names", "warn_or_raise_about_fit_failures",
]  # fmt: skip


def score_names(scorer: Any) -> list[str] | None:
    """Of a bundle of scorers those of its scores; None: it is one scorer, or a function of the user's."""
    return list(scorer._scorers) if isinstance(scorer, MultimetricScorer) else None
