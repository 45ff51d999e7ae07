from tests.evaluation.conftest import make

__all__ = ["make"]
