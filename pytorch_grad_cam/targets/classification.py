"""Targets of classifiers."""

from operator import index

from torch import Tensor

from pytorch_grad_cam._engine.describe import describe


class ClassifierOutputTarget:
    """The score of one class.

    Args:
        category: index of the class on the last axis of the output.
    """

    def __init__(self, category: int) -> None:
        self.category = index(category)

    def __call__(self, model_output: Tensor) -> Tensor:
        """(N,) to a scalar; (B, N) to (B,)."""
        if model_output.ndim not in (1, 2):
            raise ValueError(
                f"class {self.category} was asked for, but the model returned {describe(model_output)} for an image, "
                "expected one score for each class (N,); for other outputs give a callable that maps them to a scalar, "
                "such as SemanticSegmentationTarget"
            )
        classes = model_output.shape[-1]
        if not 0 <= self.category < classes:
            raise IndexError(f"class {self.category}, but the model returned {classes} scores (0 to {classes - 1})")
        return model_output[..., self.category]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.category})"


class ClassifierOutputSoftmaxTarget(ClassifierOutputTarget):
    """The probability of one class, after a softmax over the last axis."""

    def __call__(self, model_output: Tensor) -> Tensor:
        """(N,) to a scalar; (B, N) to (B,)."""
        return super().__call__(model_output.softmax(dim=-1))


class ClassifierOutputReST(ClassifierOutputTarget):
    """The score of one class plus the logarithm of its probability (https://arxiv.org/abs/2501.06261)."""

    def __call__(self, model_output: Tensor) -> Tensor:
        """(N,) to a scalar; (B, N) to (B,)."""
        return super().__call__(model_output) + super().__call__(model_output.log_softmax(dim=-1))


class BinaryClassifierOutputTarget:
    """The only score of a binary classifier, negated for category 0."""

    def __init__(self, category: int) -> None:
        if category not in (0, 1):
            raise ValueError(f"category is {category}, expected 0 or 1")
        self.category = category

    def __call__(self, model_output: Tensor) -> Tensor:
        """(1,) to (1,)."""
        return model_output if self.category == 1 else -model_output


class SoftmaxOutputTarget:
    """All probabilities, for metrics; no target of a map, which needs a scalar."""

    def __call__(self, model_output: Tensor) -> Tensor:
        """(..., N) to (..., N) in [0, 1]."""
        return model_output.softmax(dim=-1)


class RawScoresOutputTarget:
    """All scores, for metrics; no target of a map, which needs a scalar."""

    def __call__(self, model_output: Tensor) -> Tensor:
        """(..., N), unchanged."""
        return model_output
